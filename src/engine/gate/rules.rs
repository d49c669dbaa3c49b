//! The rules of one version of a list, as gates walk over them: held, on their way into an index, or read from a text.

use crate::engine::list::RuleSet;
use crate::engine::list::special::SpecialRule;
use crate::engine::matcher::Part;

/// Rules that can be walked over again and again.
pub trait Rules {
    /// Rules of all kinds.
    fn count(&self) -> usize;

    /// Gives `each` those about names and addresses in batches. What cannot be read any more is left out; it does not go
    /// into force either.
    fn walk(&self, each: &mut dyn FnMut(&RuleSet));

    /// The others, with conditions or answers of their own.
    fn specials(&self) -> &[SpecialRule];
}

impl Rules for RuleSet {
    fn count(&self) -> usize {
        self.rule_count()
    }

    fn walk(&self, each: &mut dyn FnMut(&RuleSet)) {
        each(self);
    }

    fn specials(&self) -> &[SpecialRule] {
        self.specials()
    }
}

/// Without the rules that stand on public suffixes, which do nothing.
impl Rules for Part {
    fn count(&self) -> usize {
        self.rules
    }

    fn walk(&self, each: &mut dyn FnMut(&RuleSet)) {
        // Making the index meets the same error, and then nothing goes into force.
        let _ = self.walk_names(each);
        each(&self.addresses());
    }

    fn specials(&self) -> &[SpecialRule] {
        self.specials()
    }
}
