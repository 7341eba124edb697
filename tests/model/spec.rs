//! What one memcached would answer for one key. A read may miss and an increment may find nothing at any time: it is a cache.

use stateright::semantics::SequentialSpec;

/// The key's value; none where it is not there.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) Option<u8>);

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Op {
    Get,
    Set(u8),
    Incr,
    Delete,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Ret {
    /// Read, or made by an increment.
    Value(u8),
    Miss,
    Done,
}

impl SequentialSpec for Key {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        match op {
            Op::Get => self.0.map_or(Ret::Miss, Ret::Value),
            Op::Set(value) => {
                self.0 = Some(*value);
                Ret::Done
            }
            Op::Incr => {
                self.0 = self.0.map(|value| value + 1);
                self.0.map_or(Ret::Miss, Ret::Value)
            }
            Op::Delete => {
                self.0 = None;
                Ret::Done
            }
        }
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        if *ret == Ret::Miss && matches!(op, Op::Get | Op::Incr) {
            self.0 = None; // gone, and gone for good
            return true;
        }
        self.invoke(op) == *ret
    }
}
