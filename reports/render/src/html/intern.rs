//! Texts and lists that come again and again, written once.

use std::collections::BTreeMap;

/// Different texts, by the order in which they came first.
#[derive(Debug, Default)]
pub(super) struct Texts {
    positions: BTreeMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    /// The position of a text.
    pub(super) fn add(&mut self, text: &str) -> usize {
        if let Some(position) = self.positions.get(text) {
            return *position;
        }
        let position = self.texts.len();
        self.positions.insert(text.to_owned(), position);
        self.texts.push(text.to_owned());
        position
    }

    /// All of them.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// Different lists of numbers, likewise. The first is empty.
#[derive(Debug)]
pub(super) struct Lists {
    positions: BTreeMap<Vec<usize>, usize>,
    lists: Vec<Vec<usize>>,
}

impl Default for Lists {
    fn default() -> Self {
        Lists { positions: BTreeMap::from([(Vec::new(), 0)]), lists: vec![Vec::new()] }
    }
}

impl Lists {
    /// The position of a list.
    pub(super) fn add(&mut self, list: Vec<usize>) -> usize {
        if let Some(position) = self.positions.get(&list) {
            return *position;
        }
        let position = self.lists.len();
        self.positions.insert(list.clone(), position);
        self.lists.push(list);
        position
    }

    /// All of them.
    pub(super) fn lists(&self) -> &[Vec<usize>] {
        &self.lists
    }
}
