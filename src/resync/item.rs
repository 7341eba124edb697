//! One item on two servers: the source, which is its key's authority, and the target, which is to become equal to it.

/// What can be seen of an item without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its cas id: the version.
    pub id: u64,
    /// Seconds that it has left; negative: for ever.
    pub lifetime: i64,
}

impl Look {
    /// The same version with the same end, as exact as two servers' clocks and two moments of looking allow. A touch
    /// changes the end and not the id.
    fn is_same(&self, other: &Look) -> bool {
        let end = if self.lifetime < 0 || other.lifetime < 0 {
            self.lifetime.signum() == other.lifetime.signum()
        } else {
            self.lifetime.abs_diff(other.lifetime) <= 2
        };
        self.id == other.id && end
    }
}

/// An item as it is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Version and end.
    pub look: Look,
    /// Client flags.
    pub flags: u32,
    /// Its value.
    pub value: Vec<u8>,
}

/// What is to be done at the target. Every step names the version that it may hit, so it never undoes a newer write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: they are equal, or the item is about to end.
    Leave,
    /// Put the source's item where there is none.
    Add,
    /// Put the source's item in the place of this version.
    Replace(u64),
    /// Take this version away.
    Remove(u64),
}

/// What to do with a target whose item looked so *before* the source's was looked at. In that order, because a write
/// reaches the source first: what the target has and the source has not was removed, and is not about to come.
pub fn step(target: Option<Look>, source: Option<Look>) -> Step {
    match (target, source) {
        (None, None) => Step::Leave,
        (Some(there), None) => Step::Remove(there.id),
        // In its last second; 0 as a lifetime would mean for ever.
        (_, Some(here)) if here.lifetime == 0 => Step::Leave,
        (None, Some(_)) => Step::Add,
        (Some(there), Some(here)) if there.is_same(&here) => Step::Leave,
        (Some(there), Some(_)) => Step::Replace(there.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(id: u64, lifetime: i64) -> Option<Look> {
        Some(Look { id, lifetime })
    }

    #[test]
    fn the_target_becomes_what_the_source_is() {
        assert_eq!(step(None, None), Step::Leave);
        assert_eq!(step(None, look(7, -1)), Step::Add);
        assert_eq!(step(look(7, -1), look(7, -1)), Step::Leave);
        assert_eq!(step(look(7, -1), None), Step::Remove(7));
        // Whichever id is higher: the source is the authority.
        assert_eq!(step(look(6, -1), look(7, -1)), Step::Replace(6));
        assert_eq!(step(look(8, -1), look(7, -1)), Step::Replace(8));
    }

    #[test]
    fn a_touch_shows_in_the_lifetime_only() {
        assert_eq!(step(look(7, 100), look(7, 99)), Step::Leave, "a second passed between two looks");
        assert_eq!(step(look(7, 100), look(7, 60)), Step::Replace(7));
        assert_eq!(step(look(7, -1), look(7, 60)), Step::Replace(7));
        assert_eq!(step(look(7, 60), look(7, -1)), Step::Replace(7));
    }

    #[test]
    fn an_item_in_its_last_second_is_left_to_end() {
        assert_eq!(step(None, look(7, 0)), Step::Leave);
        assert_eq!(step(look(7, 1), look(7, 0)), Step::Leave);
    }
}
