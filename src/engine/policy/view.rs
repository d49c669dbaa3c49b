//! What the lists say about one name, asked rung by rung.

use crate::engine::category::CategoryId;
use crate::engine::list::special::RuleAnswer;
use crate::engine::matcher::{Hits, ListSet};
use crate::engine::overlay::Effect;
use crate::engine::policy::special::{Matter, Outcome, Said, Specials};
use crate::engine::policy::{Judgement, Step, Trace};
use crate::engine::snapshot::{ListRole, Snapshot, Unlisted};
use crate::engine::verdict::{Cause, ListId, Rung};

/// What the index says about one name.
pub(super) struct View<'a> {
    snapshot: &'a Snapshot,
    hits: &'a Hits,
    /// `None`: no list has a special rule about the name, which is so for nearly all.
    specials: Option<Box<Specials>>,
    /// Lists that take the name off themselves again, if any does.
    excepted: Option<ListSet>,
    /// Lists that are not heard.
    silent: Option<Box<ListSet>>,
    protected: bool,
    protected_content: bool,
    infrastructure: bool,
    connectivity: bool,
    /// The policy zone that let the name by, and the rung it did so on.
    pub passed: Option<(Rung, ListId)>,
}

impl<'a> View<'a> {
    pub(super) fn of(
        snapshot: &'a Snapshot,
        matter: Matter<'a>,
        hits: &'a Hits,
        silent: Option<Box<ListSet>>,
    ) -> View<'a> {
        let mut view = View {
            snapshot,
            hits,
            specials: Specials::of(snapshot, matter, hits, silent.as_deref()),
            excepted: None,
            silent,
            protected: false,
            protected_content: false,
            infrastructure: false,
            connectivity: false,
            passed: None,
        };
        for hit in hits.as_slice() {
            let listed = snapshot.index.names.set(hit.listed);
            if !hit.excepted.is_empty() {
                let excepted = snapshot.index.names.set(hit.excepted);
                view.excepted = Some(view.excepted.map_or(*excepted, |before| before.union(excepted)));
            }
            view.protected |= listed.contains(snapshot.masks.protected);
            view.infrastructure |= listed.contains(snapshot.masks.infrastructure);
            view.protected_content |= listed.contains(snapshot.masks.protected_content) || view.infrastructure;
            view.connectivity |= listed.contains(snapshot.masks.connectivity);
        }
        view
    }

    /// Whether no list speaks about the name, which is so for most.
    pub(super) fn is_silent(&self) -> bool {
        self.hits.is_empty() && self.specials.is_none()
    }

    /// The list with a keyword in the name, which somebody should look at.
    pub(super) fn review(&self) -> Option<ListId> {
        self.specials.as_ref()?.review.filter(|_| !self.protected)
    }

    /// Whether a question that nothing allows goes on to the rungs below.
    pub(super) fn is_let_by(&self, unlisted: Unlisted) -> bool {
        match unlisted {
            Unlisted::Judged => true,
            Unlisted::Blocked => self.infrastructure || self.connectivity,
            Unlisted::Portal => self.infrastructure,
        }
    }

    /// Whether some list that speaks about the name is in one of two masks and not in the other.
    pub(super) fn meets_difference(&self, a: &ListSet, b: &ListSet) -> bool {
        let plain = self.hits.as_slice().iter().map(|hit| self.snapshot.index.names.set(hit.listed));
        plain.chain(self.specials.iter().map(|specials| &specials.lists)).any(|lists| lists.meets_difference(a, b))
    }

    /// The category by which a list of `mask` would block the name.
    pub(super) fn category_in(&mut self, mask: &ListSet) -> Option<CategoryId> {
        if self.protected || self.protected_content {
            return None;
        }
        match self.most_specific(Rung::Category, mask)?.0 {
            Cause::Rule { category, .. } => category,
            Cause::Address { .. }
            | Cause::Rebinding
            | Cause::UnsafeSearch { .. }
            | Cause::NotAllowed
            | Cause::Order { .. }
            | Cause::Temporary { .. } => None,
        }
    }

    /// Hears these lists no more.
    pub(super) fn hush(&mut self, lists: Option<Box<ListSet>>) {
        self.silent = match (self.silent.take(), lists) {
            (Some(before), Some(lists)) => Some(Box::new(before.union(&lists))),
            (before, lists) => before.or(lists),
        };
    }

    /// Rung 2: orders in force for this client that hold the name.
    pub(super) fn orders(&self, matter: Matter<'_>, trace: &mut impl Trace) -> Option<Judgement> {
        let mut spared = None;
        for hit in self.hits.as_slice().iter().rev() {
            if !self.snapshot.index.names.set(hit.listed).contains(self.snapshot.masks.orders) {
                continue;
            }
            let blocks = |is_spared| self.snapshot.orders.blocks(matter.name, hit.depth, &matter.client, is_spared);
            let cause = |at| Cause::Order { order: at, labels: hit.depth };
            if let Some(holding) = blocks(self.protected) {
                trace.step(Rung::Order, || Step::Block(cause(holding.at)));
                return Some(Judgement::Block(Rung::Order, cause(holding.at), None));
            }
            // Only an order with an explicit override reaches a protected name.
            spared = spared.or(blocks(false).map(|holding| cause(holding.at)));
        }
        trace.step(Rung::Order, || spared.map_or(Step::Nothing, Step::Spared));
        None
    }

    /// An allow list and a deny list of ours, and what was said for a while: the more specific rule wins, allow at a tie.
    pub(super) fn own_lists(
        &self,
        rung: Rung,
        matter: Matter<'_>,
        (allow, deny): (ListId, ListId),
        trace: &mut impl Trace,
    ) -> Option<Judgement> {
        if self.hits.is_empty() && !self.snapshot.overlay.has_words() {
            trace.step(rung, || Step::Nothing);
            return None;
        }
        let listed = self.hits.as_slice().iter().rev().find_map(|hit| {
            let listed = self.snapshot.index.names.set(hit.listed);
            let effect = match (listed.contains(allow), listed.contains(deny)) {
                (true, _) => Effect::Allow,
                (false, true) => Effect::Deny,
                (false, false) => return None,
            };
            let list = if effect == Effect::Allow { allow } else { deny };
            // A list has no end, so it is told before a word that says the same.
            Some(((hit.depth, effect, true), self.cause(list, hit.depth, None), None))
        });
        let said = self.snapshot.overlay.speaks(rung, matter.name, &matter.client).map(|spoken| {
            let cause = Cause::Temporary { at: spoken.at, labels: spoken.depth };
            ((spoken.depth, spoken.word.effect, false), cause, Some(spoken.word.said.until))
        });
        let Some(((_, effect, _), cause, until)) = listed.into_iter().chain(said).max_by_key(|(weight, ..)| *weight)
        else {
            trace.step(rung, || Step::Nothing);
            return None;
        };
        match effect {
            Effect::Allow => {
                trace.step(rung, || Step::Allow(cause));
                Some(Judgement::Allow(rung, until))
            }
            // Only an order with an explicit override reaches a protected name.
            Effect::Deny if self.protected => {
                trace.step(rung, || Step::Spared(cause));
                None
            }
            Effect::Deny => {
                trace.step(rung, || Step::Block(cause.clone()));
                Some(Judgement::Block(rung, cause, None))
            }
        }
    }

    /// The lists of `mask`: the most specific rule is the one that is told.
    pub(super) fn lists(&mut self, rung: Rung, mask: &ListSet, trace: &mut impl Trace) -> Option<Judgement> {
        if self.is_silent() {
            trace.step(rung, || Step::Nothing);
            return None;
        }
        let Some((cause, answer)) = self.most_specific(rung, mask) else {
            trace.step(rung, || self.undone(mask).map_or(Step::Nothing, Step::Excepted));
            return None;
        };
        if self.protected || (rung == Rung::Category && self.protected_content) {
            trace.step(rung, || Step::Spared(cause));
            return None;
        }
        trace.step(rung, || Step::Block(cause.clone()));
        Some(Judgement::Block(rung, cause, answer))
    }

    fn most_specific(&mut self, rung: Rung, mask: &ListSet) -> Option<(Cause, Option<RuleAnswer>)> {
        let heard;
        let mask = match (&self.silent, self.snapshot.masks.zones) {
            (None, None) => mask,
            (_, zones) => {
                heard = self.first_zone(rung, mask, zones.unwrap_or_default());
                &heard
            }
        };
        let undone = self.excepted.iter().chain(self.specials.iter().map(|specials| &specials.lists));
        let plain = self.hits.as_slice().iter().rev().find_map(|hit| {
            let listed = self.snapshot.index.names.set(hit.listed);
            Some((hit.depth, listed.first_in(mask, undone.clone())?))
        });
        // Of two rules as specific as each other the earlier list's is told.
        let special = self.said().iter().filter(|said| mask.contains(said.list)).filter_map(|said| {
            let Outcome::Listed(listed) = &said.outcome else { return None };
            Some((listed, said.list))
        });
        let special = special.max_by_key(|(listed, list)| (listed.depth, std::cmp::Reverse(*list)));
        match (plain, special) {
            (None, None) => None,
            (Some((depth, list)), None) => Some((self.cause(list, depth, None), None)),
            (Some((depth, list)), Some((listed, of))) if (depth, of) > (listed.depth, list) => {
                Some((self.cause(list, depth, None), None))
            }
            (_, Some((listed, list))) => Some((self.cause(list, listed.depth, listed.line), listed.answer.clone())),
        }
    }

    /// What the lists with special rules about the name say.
    fn said(&self) -> &[Said] {
        self.specials.as_ref().map_or(&[], |specials| &specials.said)
    }

    /// Lists of `mask` that hold the name by this set's plain rules alone.
    fn plain(&self, set: crate::engine::matcher::SetId, mask: &ListSet) -> ListSet {
        let mut listed = self.snapshot.index.names.set(set).intersection(mask);
        if let Some(excepted) = &self.excepted {
            listed = listed.difference(excepted);
        }
        if let Some(specials) = &self.specials {
            listed = listed.difference(&specials.lists);
        }
        listed
    }

    /// The mask less what is not heard, and with no policy zone but the first that speaks.
    fn first_zone(&mut self, rung: Rung, mask: &ListSet, zones: ListSet) -> ListSet {
        let mask = self.silent.as_deref().map_or(*mask, |silent| mask.difference(silent));
        let later = zones;
        let zones = mask.intersection(&zones);
        if zones.is_empty() {
            return mask;
        }
        let mut speaking = ListSet::EMPTY;
        for hit in self.hits.as_slice() {
            speaking = speaking.union(&self.plain(hit.listed, &zones));
        }
        let mut passing = ListSet::EMPTY;
        for Said { list, outcome } in self.said().iter().filter(|said| zones.contains(said.list)) {
            match outcome {
                Outcome::Nothing | Outcome::Excepted(_) => {}
                Outcome::Pass(_) => passing.insert(*list),
                Outcome::Listed(_) => speaking.insert(*list),
            }
        }
        let Some(first) = speaking.union(&passing).iter().next() else { return mask };
        let mut mask = mask.difference(&zones);
        if passing.contains(first) {
            self.passed = Some((rung, first));
            self.hush(Some(Box::new(zones_from(&later, first))));
        } else {
            mask.insert(first);
        }
        mask
    }

    /// The most specific exception among the lists of `mask`. For `explain`, not for queries.
    fn undone(&self, mask: &ListSet) -> Option<Cause> {
        let special =
            self.said().iter().filter(|said| mask.contains(said.list)).filter_map(|said| match said.outcome {
                Outcome::Excepted(by) | Outcome::Pass(by) => Some((by.depth, said.list, by.line)),
                Outcome::Nothing | Outcome::Listed(_) => None,
            });
        let names = &self.snapshot.index.names;
        let plain = self.hits.as_slice().iter().filter_map(|hit| {
            let lists = names.set(hit.excepted).intersection(mask);
            Some((hit.depth, lists.iter().next()?, None))
        });
        let (depth, list, line) =
            special.chain(plain).max_by_key(|(depth, list, _)| (*depth, std::cmp::Reverse(*list)))?;
        Some(self.cause(list, depth, line))
    }

    fn cause(&self, list: ListId, depth: u8, line: Option<u32>) -> Cause {
        let category = category_of(self.snapshot.list(list).role);
        Cause::Rule { list, category, labels: depth, line }
    }
}

/// Policy zones from `first` on.
pub(super) fn zones_from(zones: &ListSet, first: ListId) -> ListSet {
    zones.iter().filter(|list| *list >= first).collect()
}

pub(super) fn category_of(role: ListRole) -> Option<CategoryId> {
    match role {
        ListRole::Category(category) => Some(category),
        ListRole::OperatorAllow
        | ListRole::OperatorDeny
        | ListRole::ProfileAllow(_)
        | ListRole::ProfileDeny(_)
        | ListRole::Orders
        | ListRole::Protected
        | ListRole::ProtectedContent
        | ListRole::Infrastructure
        | ListRole::Connectivity => None,
    }
}
