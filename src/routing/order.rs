//! Which servers hold a key's copies, the authority first: the same order as lua/order.lua, to the bit.
//!
//! Pure; does not know which servers are alive. tests/lua/order-vectors.txt holds both to the same answers for ever.

/// Of xorshift64*: odd, well-mixed bits.
const MULTIPLIER: u64 = 0x2545_F491_4F6C_DD1D;

/// The key order of a ring. Servers are numbered through all lists from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// One list: copies are neighbours in it.
    Rotated {
        /// Servers, at least 1.
        servers: usize,
        /// Copies of a key, from 1 to `servers`.
        copies: usize,
    },
    /// Several lists: one copy in each, at the same place where they are equally long.
    Aligned {
        /// Servers of each list, at least 1.
        lists: Vec<usize>,
    },
}

impl Order {
    /// Of lists of so many servers each; `copies` counts where there is one list.
    ///
    /// `None` where there is no list, one is empty, or there are fewer servers than copies.
    pub fn new(lists: &[usize], copies: usize) -> Option<Order> {
        match lists {
            _ if lists.contains(&0) => None,
            [] => None,
            [servers] => (1..=*servers).contains(&copies).then_some(Order::Rotated { servers: *servers, copies }),
            _ => Some(Order::Aligned { lists: lists.to_vec() }),
        }
    }

    /// How many servers hold a key.
    pub fn copies(&self) -> usize {
        match self {
            Order::Rotated { copies, .. } => *copies,
            Order::Aligned { lists } => lists.len(),
        }
    }

    /// A key's servers, its authority first. The key as clients send it: with flag `b` in base64.
    pub fn of(&self, key: &[u8]) -> Vec<usize> {
        let hash = hash(key);
        match self {
            Order::Rotated { servers, copies } => {
                let first = jump(hash, *servers);
                (0..*copies).map(|copy| (first + copy) % servers).collect()
            }
            Order::Aligned { lists } => {
                // Less than the number of lists.
                let lead = ((hash >> 40) % lists.len() as u64) as usize;
                let mut order = vec![0; lists.len()];
                let mut before = 0;
                for (list, servers) in lists.iter().enumerate() {
                    order[(list + lists.len() - lead) % lists.len()] = before + jump(hash, *servers);
                    before += servers;
                }
                order
            }
        }
    }
}

/// 64 bits from a key, eight bytes at a time, little-endian.
pub fn hash(key: &[u8]) -> u64 {
    let mix = |x: u64, part: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        let x = (x ^ u64::from_le_bytes(bytes)).wrapping_mul(MULTIPLIER);
        x ^ (x >> 29)
    };
    let x = key.chunks(8).fold(key.len() as u64, mix).wrapping_mul(MULTIPLIER);
    x ^ (x >> 32)
}

/// Jump consistent hash (Lamping and Veach, 2014), to a number below `n`, which is at least 1.
pub fn jump(mut hash: u64, n: usize) -> usize {
    let (mut bucket, mut next) = (0_u64, 0_u64);
    while next < n as u64 {
        bucket = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let scale = 2_147_483_648.0 / ((hash >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * scale) as u64;
    }
    bucket as usize
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The lines of the vectors that begin with `word`, without it, as bytes: keys need not be text.
    fn vectors(word: &str) -> Vec<Vec<Vec<u8>>> {
        let file = include_bytes!("../../tests/lua/order-vectors.txt");
        let lines = file.split(|byte| *byte == b'\n').filter(|line| line.starts_with(word.as_bytes()));
        lines.map(|line| line.split(|byte| *byte == b' ').skip(1).map(<[u8]>::to_vec).collect()).collect()
    }

    fn numbers(text: &[u8]) -> Vec<usize> {
        text.split(|byte| *byte == b',').map(|number| str::from_utf8(number).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn hashes_are_those_of_the_library() {
        let vectors = vectors("hash");
        assert!(vectors.len() > 30);
        for vector in vectors {
            let expected: i64 = str::from_utf8(&vector[0]).unwrap().parse().unwrap();
            assert_eq!(hash(&vector[1]), expected.cast_unsigned(), "{:?}", String::from_utf8_lossy(&vector[1]));
        }
    }

    #[test]
    fn every_layout_orders_as_the_library_does() {
        let vectors = vectors("order");
        assert!(vectors.len() > 300);
        for vector in vectors {
            let shape = str::from_utf8(&vector[0]).unwrap();
            let (lists, copies) = shape.split_once('/').unwrap();
            let order = Order::new(&numbers(lists.as_bytes()), copies.parse().unwrap()).unwrap();
            let expected: Vec<usize> = numbers(&vector[1]).iter().map(|server| server - 1).collect();
            assert_eq!(order.of(&vector[2]), expected, "{shape} {:?}", String::from_utf8_lossy(&vector[2]));
            assert_eq!(order.copies(), expected.len());
        }
    }

    #[test]
    fn impossible_layouts_are_none() {
        for (lists, copies) in [(&[][..], 1), (&[0], 1), (&[3, 0], 2), (&[3], 4), (&[3], 0)] {
            assert_eq!(Order::new(lists, copies), None, "{lists:?}/{copies}");
        }
    }
}
