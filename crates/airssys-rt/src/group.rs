//! Process groups, as OTP's `pg`: living actors under a common name, to send to all of them or to one of them.
//!
//! A scope holds groups by name, a group holds addresses of one message type. An actor is in a group once, and leaves at
//! each of its ends before anybody is told of the end. Senders read a list that is made anew after a change, so sending to
//! all and choosing one take no lock of the group and allocate nothing. A group's table may be locked before a control,
//! never after one.

mod monitor;
mod scope;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use arc_swap::ArcSwapOption;

use crate::actor::ActorId;
use crate::address::{Address, TellError};

use monitor::{Change, Feed};
pub use monitor::{GroupEvent, GroupMonitor};
pub(crate) use scope::Scopes;
pub use scope::{GroupError, Scope, ScopeExists, ScopeOptions};

/// Groups one actor may be in: it chooses them, perhaps from what it is told.
pub(crate) const GROUPS_PER_ACTOR_MAX: usize = 1024;

/// Living actors of one message type under a common name. Cheap to clone.
pub struct Group<M>(Arc<GroupInner<M>>);

struct GroupInner<M> {
    name: Arc<str>,
    scope: Scope,
    table: Mutex<Table<M>>,
    /// What senders read. None after a change, until somebody reads.
    list: ArcSwapOption<Vec<Member<M>>>,
    /// Whose turn it is.
    turn: AtomicUsize,
}

struct Table<M> {
    members: BTreeMap<ActorId, Member<M>>,
    monitors: Vec<Weak<Feed<M>>>,
}

struct Member<M> {
    address: Address<M>,
    seed: u64,
}

impl<M: Send + 'static> Group<M> {
    /// The group's name in its scope.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Adds a living actor; again is the same as once. In OTP an actor may be in a group several times.
    ///
    /// The membership ends with the actor, also when a supervisor restarts it: the next incarnation joins again in its
    /// `start`. An actor is in at most 1024 groups.
    pub fn join(&self, address: &Address<M>) -> Result<(), JoinError> {
        let (header, id) = (&address.0.header, address.id());
        if !self.0.scope.is_of(&header.system) {
            return Err(JoinError::OtherSystem { id });
        }
        let mut table = self.0.lock();
        if table.members.contains_key(&id) {
            return Ok(());
        }
        let max = self.0.scope.options().members_max;
        if table.members.len() >= max {
            return Err(JoinError::Full { group: self.0.name.clone(), max });
        }
        let mut control = header.lock();
        if !control.is_alive() {
            return Err(JoinError::NotAlive { id });
        }
        if !control.rare_mut().affiliations.add_group(self.0.clone()) {
            return Err(JoinError::TooMany { id, max: GROUPS_PER_ACTOR_MAX });
        }
        drop(control);
        let member = Member { address: address.clone(), seed: hash_of(address.name()) };
        table.members.insert(id, member);
        let aftermath = self.0.changed(&mut table, Change::Joined(address.clone()));
        drop(table);
        aftermath.see_to();
        Ok(())
    }

    /// Takes an actor out. False if it was not in.
    pub fn leave(&self, address: &Address<M>) -> bool {
        let mut table = self.0.lock();
        let Some(member) = table.members.remove(&address.id()) else {
            return false;
        };
        if let Some(rare) = address.0.header.lock().existing_rare() {
            rare.affiliations.remove_group(&self.0);
        }
        let aftermath = self.0.changed(&mut table, Change::Left(member.address));
        drop(table);
        aftermath.see_to();
        true
    }

    /// The members as of now, in the order their places were made.
    pub fn members(&self) -> Members<M> {
        Members(self.0.list.load_full().unwrap_or_else(|| self.0.list_anew()))
    }

    /// Sends to every member as of now, without waiting: who has no room, or is just ending, does not delay the others,
    /// and its message comes back.
    pub fn tell_all(&self, message: M) -> Broadcast<M>
    where
        M: Clone,
    {
        self.0.read(|members| {
            let mut outcome = Broadcast { sent: 0, refused: Vec::new() };
            if let Some((last, others)) = members.split_last() {
                for member in others {
                    outcome.tell(member, message.clone());
                }
                outcome.tell(last, message);
            }
            outcome
        })
    }

    /// The members in turn. None if there are none.
    pub fn round_robin(&self) -> Option<Address<M>> {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        self.0.read(|members| Some(members.get(turn.checked_rem(members.len())?)?.address.clone()))
    }

    /// The member with the fewest messages waiting; among equals, in turn. Looks at the mailboxes until one is empty. A
    /// message in work does not wait, so a busy member with nothing behind it is as good as an idle one.
    pub fn least_loaded(&self) -> Option<Address<M>> {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        self.0.read(|members| {
            let (later, first) = members.split_at(turn.checked_rem(members.len())?);
            let mut least: Option<(usize, &Member<M>)> = None;
            for member in first.iter().chain(later) {
                let depth = member.address.0.mailbox.depth();
                if least.is_none_or(|(least, _)| depth < least) {
                    least = Some((depth, member));
                }
                if depth == 0 {
                    break;
                }
            }
            least.map(|(_, member)| member.address.clone())
        })
    }

    /// The member that this key belongs to, by rendezvous hashing: a key changes its member only when that member leaves or
    /// a new one takes it over. Each has about the same share of the keys, and by its name, so a restarted member has its
    /// keys again. Looks at all members. The hash has no secret: who chooses keys can choose the member.
    pub fn for_key(&self, key: &(impl Hash + ?Sized)) -> Option<Address<M>> {
        let key = hash_of(key);
        self.0.read(|members| {
            let member =
                members.iter().max_by_key(|member| (weight(key, member.seed), member.address.id()))?;
            Some(member.address.clone())
        })
    }

    /// Tells the members as of its first look, and then each change: none is missed or told twice between.
    pub fn monitor(&self) -> GroupMonitor<M> {
        let feed = Arc::new(Feed::new());
        let mut table = self.0.lock();
        table.monitors.retain(|feed| feed.strong_count() > 0);
        table.monitors.push(Arc::downgrade(&feed));
        drop(table);
        GroupMonitor::new(self.clone(), feed)
    }
}

impl<M> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({} in {})", self.0.name, self.0.scope.name())
    }
}

/// A group that an actor can leave without its message type being known.
pub(crate) trait AnyGroup: Any + Send + Sync {
    fn is_empty(&self) -> bool;
    /// The actor has ended.
    fn end(&self, id: ActorId);
}

impl<M: Send + 'static> AnyGroup for GroupInner<M> {
    fn is_empty(&self) -> bool {
        self.lock().members.is_empty()
    }

    fn end(&self, id: ActorId) {
        let mut table = self.lock();
        if let Some(member) = table.members.remove(&id) {
            let aftermath = self.changed(&mut table, Change::Left(member.address));
            drop(table);
            aftermath.see_to();
        }
    }
}

/// What is left to do once the table is unlocked: readers are woken, and lists and addresses dropped, as a mailbox may end
/// with its last address.
#[must_use]
struct Aftermath<M> {
    list: Option<Arc<Vec<Member<M>>>>,
    change: Change<M>,
    forgotten: VecDeque<Change<M>>,
    readers: Vec<Waker>,
}

impl<M> Aftermath<M> {
    fn see_to(self) {
        self.readers.into_iter().for_each(Waker::wake);
        drop((self.list, self.change, self.forgotten));
    }
}

impl<M> GroupInner<M> {
    fn new(name: Arc<str>, scope: Scope) -> Self {
        Self {
            name,
            scope,
            table: Mutex::new(Table { members: BTreeMap::new(), monitors: Vec::new() }),
            list: ArcSwapOption::empty(),
            turn: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table<M>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the change known: to senders, who read a list, and to monitors.
    fn changed(&self, table: &mut Table<M>, change: Change<M>) -> Aftermath<M> {
        let mut aftermath =
            Aftermath { list: self.list.swap(None), change, forgotten: VecDeque::new(), readers: Vec::new() };
        table.monitors.retain(|feed| {
            let Some(feed) = feed.upgrade() else {
                return false;
            };
            let (mut forgotten, reader) = feed.add(&aftermath.change);
            aftermath.forgotten.append(&mut forgotten);
            aftermath.readers.extend(reader);
            true
        });
        aftermath
    }

    fn read<R>(&self, look: impl FnOnce(&[Member<M>]) -> R) -> R {
        match &*self.list.load() {
            Some(members) => look(members),
            None => look(&self.list_anew()),
        }
    }

    #[cold]
    fn list_anew(&self) -> Arc<Vec<Member<M>>> {
        self.list_of(&self.lock())
    }

    /// A list that is there while the table is locked is the table's.
    fn list_of(&self, table: &Table<M>) -> Arc<Vec<Member<M>>> {
        self.list.load_full().unwrap_or_else(|| {
            let list = Arc::new(table.members.values().cloned().collect::<Vec<_>>());
            self.list.store(Some(list.clone()));
            list
        })
    }

    /// The members for a reader who will be told each change from here on.
    fn catch_up(&self, feed: &Feed<M>) -> Members<M> {
        let table = self.lock();
        feed.caught_up();
        Members(self.list_of(&table))
    }
}

impl<M> Drop for GroupInner<M> {
    fn drop(&mut self) {
        self.scope.forget_dead(&self.name);
    }
}

impl<M> Clone for Member<M> {
    fn clone(&self) -> Self {
        Self { address: self.address.clone(), seed: self.seed }
    }
}

/// Why an actor did not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The actor has ended, or its supervisor has not started it again yet.
    #[error("actor {id} is not alive")]
    NotAlive {
        /// Whose address it was.
        id: ActorId,
    },
    /// The actor lives in another system than the group.
    #[error("actor {id} belongs to another system")]
    OtherSystem {
        /// Its id there.
        id: ActorId,
    },
    /// The group has as many members as it may.
    #[error("group {group} has {max} members")]
    Full {
        /// The group's name.
        group: Arc<str>,
        /// [`ScopeOptions::members_max`].
        max: usize,
    },
    /// The actor is in as many groups as it may.
    #[error("actor {id} is in {max} groups")]
    TooMany {
        /// Whose address it was.
        id: ActorId,
        /// Groups it may be in.
        max: usize,
    },
}

/// What became of a message to all.
#[must_use = "who refused the message has not got it"]
pub struct Broadcast<M> {
    /// Members that have the message in their mailbox, or dropped one by their policy for it.
    pub sent: usize,
    /// Who has not got it, and why, with their copy.
    pub refused: Vec<(Address<M>, TellError<M>)>,
}

impl<M: Send + 'static> Broadcast<M> {
    fn tell(&mut self, member: &Member<M>, message: M) {
        match member.address.try_tell(message) {
            Ok(()) => self.sent += 1,
            Err(refused) => self.refused.push((member.address.clone(), refused)),
        }
    }
}

impl<M> fmt::Debug for Broadcast<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("sent", &self.sent).field("refused", &self.refused).finish()
    }
}

/// The members of a group at one time. Cheap to clone.
pub struct Members<M>(Arc<Vec<Member<M>>>);

impl<M> Members<M> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order their places were made.
    pub fn iter(&self) -> MembersIter<'_, M> {
        MembersIter(self.0.iter())
    }
}

impl<M> Clone for Members<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for Members<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a, M> IntoIterator for &'a Members<M> {
    type Item = &'a Address<M>;
    type IntoIter = MembersIter<'a, M>;

    fn into_iter(self) -> MembersIter<'a, M> {
        self.iter()
    }
}

/// Goes through [`Members`].
pub struct MembersIter<'a, M>(slice::Iter<'a, Member<M>>);

impl<'a, M> Iterator for MembersIter<'a, M> {
    type Item = &'a Address<M>;

    fn next(&mut self) -> Option<&'a Address<M>> {
        self.0.next().map(|member| &member.address)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<M> ExactSizeIterator for MembersIter<'_, M> {}

fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How much a member wants a key: both spread over all bits, as the last step of SplitMix64 does.
fn weight(key: u64, seed: u64) -> u64 {
    let mut bits = key ^ seed;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
