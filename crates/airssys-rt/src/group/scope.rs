//! Scopes: groups by name. What nobody holds and nobody is in has no entry here, so names cost nothing for ever.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::system::System;

use super::{AnyGroup, Group, GroupInner};

/// How much a scope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeOptions {
    /// Groups that exist at once.
    pub groups_max: usize,
    /// Members of each group.
    pub members_max: usize,
}

impl Default for ScopeOptions {
    /// 4096 groups of 16384 members.
    fn default() -> Self {
        Self { groups_max: 4096, members_max: 16_384 }
    }
}

impl System {
    /// The scope of this name, made with the default options if there is none. A scope exists while somebody holds it, a
    /// group of it, or a membership in one.
    pub fn scope(&self, name: impl Into<Arc<str>>) -> Scope {
        self.scopes().find_or_make(self, name.into(), ScopeOptions::default())
    }

    /// The scope of this name with these options.
    pub fn scope_with(&self, name: impl Into<Arc<str>>, options: ScopeOptions) -> Result<Scope, ScopeExists> {
        let scope = self.scopes().find_or_make(self, name.into(), options);
        if scope.0.options == options {
            Ok(scope)
        } else {
            Err(ScopeExists { name: scope.0.name.clone(), options: scope.0.options })
        }
    }
}

/// A scope of this name exists, with other options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scope {name} exists with {options:?}")]
pub struct ScopeExists {
    /// The scope's name.
    pub name: Arc<str>,
    /// The options it was made with.
    pub options: ScopeOptions,
}

/// Groups that know each other by name. Cheap to clone.
#[derive(Clone)]
pub struct Scope(Arc<ScopeInner>);

struct ScopeInner {
    name: Arc<str>,
    system: System,
    options: ScopeOptions,
    groups: Mutex<HashMap<Arc<str>, Weak<dyn AnyGroup>>>,
}

impl Scope {
    /// The scope's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How much it holds.
    pub fn options(&self) -> ScopeOptions {
        self.0.options
    }

    /// The group of this name, made if there is none. A group exists while it has members or somebody holds it.
    pub fn group<M: Send + 'static>(&self, name: impl Into<Arc<str>>) -> Result<Group<M>, GroupError> {
        let name = name.into();
        let mut groups = self.0.lock();
        if let Some(group) = groups.get(&name).and_then(Weak::upgrade) {
            // Unlocked first: if this were the last of the group, its drop would want the lock.
            drop(groups);
            let any: Arc<dyn Any + Send + Sync> = group;
            return any.downcast().map(Group).map_err(|_| GroupError::OtherType { name });
        }
        let max = self.0.options.groups_max;
        if groups.len() >= max {
            // Some may be on their way out.
            groups.retain(|_, group| group.strong_count() > 0);
            if groups.len() >= max {
                return Err(GroupError::TooMany { scope: self.0.name.clone(), max });
            }
        }
        let group = Arc::new(GroupInner::new(name.clone(), self.clone()));
        let any: Arc<dyn AnyGroup> = group.clone();
        groups.insert(name, Arc::downgrade(&any));
        drop(groups);
        Ok(Group(group))
    }

    /// The names of the groups that have members, sorted.
    pub fn groups(&self) -> Vec<Arc<str>> {
        let groups: Vec<_> =
            self.0.lock().iter().map(|(name, group)| (name.clone(), group.clone())).collect();
        let has_members = |group: &Weak<dyn AnyGroup>| group.upgrade().is_some_and(|group| !group.is_empty());
        let mut names: Vec<_> =
            groups.into_iter().filter(|(_, group)| has_members(group)).map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn is_of(&self, system: &System) -> bool {
        self.0.system.is(system)
    }

    pub(super) fn forget_dead(&self, group: &Arc<str>) {
        forget_dead(&mut self.0.lock(), group);
    }
}

impl ScopeInner {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<dyn AnyGroup>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ScopeInner {
    fn drop(&mut self) {
        self.system.scopes().forget_dead(&self.name);
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.0.name)
    }
}

/// The scopes of a system by name. What nobody holds has no entry.
#[derive(Default)]
pub(crate) struct Scopes(Mutex<HashMap<Arc<str>, Weak<ScopeInner>>>);

impl Scopes {
    fn find_or_make(&self, system: &System, name: Arc<str>, options: ScopeOptions) -> Scope {
        let mut scopes = self.lock();
        if let Some(scope) = scopes.get(&name).and_then(Weak::upgrade) {
            return Scope(scope);
        }
        let groups = Mutex::new(HashMap::new());
        let scope = Arc::new(ScopeInner { name: name.clone(), system: system.clone(), options, groups });
        scopes.insert(name, Arc::downgrade(&scope));
        Scope(scope)
    }

    fn forget_dead(&self, name: &Arc<str>) {
        forget_dead(&mut self.lock(), name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<ScopeInner>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes an entry, unless another of the same name has taken its place.
fn forget_dead<T: ?Sized>(entries: &mut HashMap<Arc<str>, Weak<T>>, name: &Arc<str>) {
    if let MapEntry::Occupied(entry) = entries.entry(name.clone())
        && entry.get().strong_count() == 0
    {
        entry.remove();
    }
}

/// Why there is no such group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The group of this name is for other messages.
    #[error("group {name} is for messages of another type")]
    OtherType {
        /// The group's name.
        name: Arc<str>,
    },
    /// The scope holds as many groups as it may.
    #[error("scope {scope} holds {max} groups")]
    TooMany {
        /// The scope's name.
        scope: Arc<str>,
        /// [`ScopeOptions::groups_max`].
        max: usize,
    },
}
