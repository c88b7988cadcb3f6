//! Links and monitors: who is told when an actor ends.
//!
//! A link is mutual and there is one per pair; a monitor is one-way and there may be many. Both are between incarnations:
//! they end with the actor that made them and are not inherited by the one restarted in its place.

use std::sync::Arc;

use crate::actor::{ActorId, MonitorRef, Signal};
use crate::exit::{Exit, ExitReason};
use crate::slot::{AnySlot, EXIT, Ended, Header, NOTICE};

#[derive(Default)]
pub(crate) struct Relations {
    links: Vec<ActorId>,
    /// Who monitors this actor.
    watchers: Vec<(MonitorRef, ActorId)>,
    /// Whom this actor monitors.
    watching: Vec<MonitorRef>,
}

impl Header {
    pub(crate) fn link(&self, other: ActorId) {
        if other == self.id {
            return;
        }
        // Ours first: if the other ends between the two steps, its exit finds our half and removes it.
        if !insert(&mut self.lock().rare_mut().relations.links, other) {
            return;
        }
        let linked = self.system.slot(other).is_some_and(|slot| {
            let mut control = slot.header.lock();
            control.is_alive() && {
                insert(&mut control.rare_mut().relations.links, self.id);
                true
            }
        });
        if !linked {
            self.linked_exit(&no_such_actor(other));
        }
    }

    pub(crate) fn unlink(&self, other: ActorId) {
        let mut control = self.lock();
        if let Some(rare) = control.existing_rare() {
            rare.relations.links.retain(|id| *id != other);
            rare.notices.retain(|notice| !matches!(notice, Signal::Exit(exit) if exit.id == other));
        }
        drop(control);
        if let Some(slot) = self.system.slot(other)
            && let Some(rare) = slot.header.lock().existing_rare()
        {
            rare.relations.links.retain(|id| *id != self.id);
        }
    }

    pub(crate) fn monitor(&self, target: ActorId) -> MonitorRef {
        let monitor = MonitorRef { number: self.system.next_number(), target };
        self.lock().rare_mut().relations.watching.push(monitor);
        let watched = self.system.slot(target).is_some_and(|slot| {
            let mut control = slot.header.lock();
            control.is_alive() && {
                control.rare_mut().relations.watchers.push((monitor, self.id));
                true
            }
        });
        if !watched {
            self.down(monitor, no_such_actor(target));
        }
        monitor
    }

    pub(crate) fn demonitor(&self, monitor: MonitorRef) {
        if let Some(rare) = self.lock().existing_rare() {
            rare.relations.watching.retain(|known| *known != monitor);
            rare.notices
                .retain(|notice| !matches!(notice, Signal::Down { monitor: known, .. } if *known == monitor));
        }
        self.forget_watcher(monitor);
    }

    /// A signal for the supervisor, which is told of every end of a child and of every start that failed.
    pub(crate) fn child_exit(&self, exit: Exit) {
        let table = self.lock().rare_mut().children.table();
        if table.is_some_and(|table| table.let_go(&exit)) {
            return;
        }
        let mut control = self.lock();
        if control.is_alive() {
            control.rare_mut().notices.push_back(Signal::Exit(exit));
            self.raise(control, NOTICE);
        }
    }

    /// Forgets that a child ended, because its supervisor ended it and has seen it end.
    pub(crate) fn forget_exit(&self, id: ActorId) {
        if let Some(rare) = self.lock().existing_rare() {
            rare.notices.retain(|notice| !matches!(notice, Signal::Exit(exit) if exit.id == id));
        }
    }

    fn linked_exit(&self, exit: &Exit) {
        let mut control = self.lock();
        let Some(links) = control.existing_rare().map(|rare| &mut rare.relations.links) else {
            return;
        };
        let Some(index) = links.iter().position(|id| *id == exit.id) else {
            return;
        };
        links.swap_remove(index);
        if !control.is_alive() {
            return;
        }
        if control.trap_exits {
            control.rare_mut().notices.push_back(Signal::Exit(exit.clone()));
            self.raise(control, NOTICE);
        } else if !matches!(exit.reason, ExitReason::Normal) {
            control.request_exit(exit.reason.clone());
            self.raise(control, EXIT);
        }
    }

    fn down(&self, monitor: MonitorRef, exit: Exit) {
        let mut control = self.lock();
        let Some(watching) = control.existing_rare().map(|rare| &mut rare.relations.watching) else {
            return;
        };
        // Not ours any more: demonitored, or made by an earlier incarnation.
        let Some(index) = watching.iter().position(|known| *known == monitor) else {
            return;
        };
        watching.swap_remove(index);
        control.rare_mut().notices.push_back(Signal::Down { monitor, exit });
        self.raise(control, NOTICE);
    }

    fn forget_watcher(&self, monitor: MonitorRef) {
        if let Some(slot) = self.system.slot(monitor.target)
            && let Some(rare) = slot.header.lock().existing_rare()
        {
            rare.relations.watchers.retain(|(known, _)| *known != monitor);
        }
    }
}

impl Ended {
    /// Tells links and monitors, once each, and withdraws the actor's own monitors.
    pub(crate) fn tell_relations(&self, header: &Header) {
        for id in &self.relations.links {
            if let Some(slot) = header.system.slot(*id) {
                slot.header.linked_exit(&self.exit);
            }
        }
        for (monitor, id) in &self.relations.watchers {
            if let Some(slot) = header.system.slot(*id) {
                slot.header.down(*monitor, self.exit.clone());
            }
        }
        for monitor in &self.relations.watching {
            header.forget_watcher(*monitor);
        }
    }

    pub(crate) fn tell_parent(&self, parent: Option<&Arc<AnySlot>>) {
        if let Some(parent) = parent {
            parent.header.child_exit(self.exit.clone());
        }
    }
}

fn insert(ids: &mut Vec<ActorId>, id: ActorId) -> bool {
    let is_new = !ids.contains(&id);
    if is_new {
        ids.push(id);
    }
    is_new
}

fn no_such_actor(id: ActorId) -> Exit {
    Exit { id, name: "".into(), reason: ExitReason::NoProc }
}
