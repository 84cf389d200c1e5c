//! Names to dense numbers, in the order in which they first appear.
//!
//! An open-addressing table of its own: its order of iteration is that of the names, and the same
//! input gives the same numbers anywhere.

/// A name as somebody else's history has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A number.
    Int(i64),
    /// Anything else, as text.
    Text(Box<str>),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Name::Int(n) => write!(f, "{n}"),
            Name::Text(text) => f.write_str(text),
        }
    }
}

/// Dense numbers for keys.
#[derive(Debug, Clone)]
pub struct Interner<K> {
    keys: Vec<K>,
    table: Vec<u32>,
}

impl<K> Default for Interner<K> {
    fn default() -> Self {
        Interner { keys: Vec::new(), table: Vec::new() }
    }
}

const EMPTY: u32 = u32::MAX;

/// What can be interned.
pub trait Key {
    /// A hash; equal keys have equal hashes.
    fn hash(&self) -> u64;
}

impl Key for Name {
    fn hash(&self) -> u64 {
        match self {
            Name::Int(n) => mix(n.cast_unsigned()),
            Name::Text(text) => mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
            })),
        }
    }
}

impl Key for (u32, u32) {
    fn hash(&self) -> u64 {
        mix(u64::from(self.0) << 32 | u64::from(self.1))
    }
}

const fn mix(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

impl<K: Key + PartialEq> Interner<K> {
    /// The number of a key; a new one if it is new.
    pub fn intern(&mut self, key: K) -> u32 {
        if self.table.len() < self.keys.len() * 2 + 16 {
            self.grow();
        }
        match self.probe(&key) {
            Ok(number) => number,
            Err(place) => {
                let number = u32::try_from(self.keys.len()).expect("fewer than 2^32 names");
                self.table[place] = number;
                self.keys.push(key);
                number
            }
        }
    }

    /// The number of a key, if it has one.
    #[must_use]
    pub fn find(&self, key: &K) -> Option<u32> {
        if self.table.is_empty() { None } else { self.probe(key).ok() }
    }

    /// The keys, by number.
    #[must_use]
    pub fn keys(&self) -> &[K] {
        &self.keys
    }

    fn probe(&self, key: &K) -> Result<u32, usize> {
        let mask = self.table.len() - 1;
        let mut place = usize::try_from(key.hash() & mask as u64).expect("a place in the table");
        loop {
            match self.table[place] {
                EMPTY => return Err(place),
                number if self.keys[number as usize] == *key => return Ok(number),
                _ => place = (place + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let size = (self.keys.len() * 4 + 32).next_power_of_two();
        self.table = vec![EMPTY; size];
        for number in 0..self.keys.len() {
            if let Err(place) = self.probe(&self.keys[number]) {
                self.table[place] = u32::try_from(number).expect("fewer than 2^32 names");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers_while_the_table_grows() {
        let mut names = Interner::default();
        for n in 0..10_000 {
            assert_eq!(names.intern(Name::Int(n * 7)), u32::try_from(n).unwrap());
            names.intern(Name::Int(n * 7));
        }
        assert_eq!(names.find(&Name::Int(7 * 9_999)), Some(9_999));
        assert_eq!(names.find(&Name::Int(1)), None);
        assert_ne!(Name::Int(1), Name::Text("1".into()), "a number is not a text");
    }
}
