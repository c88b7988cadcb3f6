//! Ports of TCP that rules allow, which is all that Landlock knows of a network.

use crate::access::NetVerb;
use crate::policy::{Effect, Ground, Rule};

use super::Fit;
use super::gap::{Gap, GapKind, Place, Side};
use super::ground::Grounds;

/// Ports that are granted one by one.
const PORTS_MAX: usize = 1024;
const PORTS: usize = 1 << 16;

/// The ports that a wall lets pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ports {
    /// These, sorted.
    Listed(Vec<u16>),
    /// All: the wall does not look.
    Open,
}

/// What the rules of one subject say of a port.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    /// Allowed for some host.
    some: bool,
    /// Allowed for every host.
    every: bool,
    /// Denied for some host.
    but: bool,
    /// Denied for every host.
    none: bool,
}

impl Ports {
    pub(super) fn of(grounds: &Grounds<'_>, verb: NetVerb, fit: Fit, gaps: &mut Vec<Gap>) -> Self {
        let (mut wanted, mut whole) = (vec![false; PORTS], vec![false; PORTS]);
        for rules in &grounds.others {
            let about: Vec<(&Rule, std::ops::RangeInclusive<u16>, bool)> = rules
                .iter()
                .filter_map(|rule| match rule.ground() {
                    Ground::Net { verb: about, ports, every_host } if about == verb => {
                        Some((*rule, ports, every_host))
                    }
                    Ground::Net { .. } | Ground::Files { .. } | Ground::Run { .. } | Ground::Own => None,
                })
                .collect();
            if about.is_empty() {
                continue;
            }
            let mut said = vec![Said::default(); PORTS];
            for (rule, ports, every) in about {
                for said in &mut said[usize::from(*ports.start())..=usize::from(*ports.end())] {
                    match rule.effect() {
                        Effect::Allow => (said.some, said.every) = (true, said.every || every),
                        Effect::Deny => (said.but, said.none) = (true, said.none || every),
                    }
                }
            }
            for (port, said) in said.into_iter().enumerate() {
                wanted[port] |= said.some && !said.none;
                whole[port] |= said.every && !said.but;
            }
        }
        let granted = match fit {
            Fit::Around => &wanted,
            Fit::Inside => &whole,
        };
        let listed: Vec<u16> = (1..=u16::MAX).filter(|port| granted[usize::from(*port)]).collect();
        let is_all = listed.len() == PORTS - 1;
        let mut tell = |side, kind, is: &dyn Fn(usize) -> bool| {
            for ports in ranges(is) {
                let gap = Gap::new(side, kind, Place::Net { verb: Some(verb), ports });
                gaps.push(match rule_about(grounds, verb, ports.0) {
                    Some(rule) => gap.of_rule(rule),
                    None => gap,
                });
            }
        };
        if listed.len() > PORTS_MAX && fit == Fit::Inside && !is_all {
            tell(Side::Narrower, GapKind::Ports, &|port| wanted[port]);
            return Ports::Listed(Vec::new());
        }
        match fit {
            Fit::Around => tell(Side::Wider, GapKind::Hosts, &|port| wanted[port] && !whole[port]),
            Fit::Inside => tell(Side::Narrower, GapKind::Hosts, &|port| wanted[port] && !whole[port]),
        }
        if listed.len() > PORTS_MAX {
            tell(Side::Wider, GapKind::Ports, &|port| !granted[port]);
            return Ports::Open;
        }
        Ports::Listed(listed)
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Ports::Open => true,
            Ports::Listed(_) => false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Ports::Open => false,
            Ports::Listed(ports) => ports.is_empty(),
        }
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = u16> {
        match self {
            Ports::Open => [].iter().copied(),
            Ports::Listed(ports) => ports.iter().copied(),
        }
    }
}

/// Ports from 1 on that are next to each other.
fn ranges(is: impl Fn(usize) -> bool) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in (1..=u16::MAX).filter(|port| is(usize::from(*port))) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            Some(_) | None => ranges.push((port, port)),
        }
    }
    ranges
}

/// The first rule that allows something at a port.
fn rule_about<'g>(grounds: &'g Grounds<'_>, verb: NetVerb, port: u16) -> Option<&'g Rule> {
    let is_about = |rule: &&&Rule| {
        rule.effect() == Effect::Allow
            && matches!(rule.ground(), Ground::Net { verb: about, ports, .. } if about == verb && ports.contains(&port))
    };
    grounds.others.iter().flatten().find(is_about).copied()
}
