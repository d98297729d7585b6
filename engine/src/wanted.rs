//! What the graph says is to do, as the engine holds it between epochs.

use std::collections::BTreeMap;

/// A collection built from changes: rows with their multiplicity, none of them zero.
#[derive(Debug)]
pub struct Rows<T>(BTreeMap<T, isize>);

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows(BTreeMap::new())
    }
}

impl<T: Ord> Rows<T> {
    /// Takes in the changes of one epoch.
    pub fn update(&mut self, changes: Vec<(T, isize)>) {
        for (row, change) in changes {
            match self.0.entry(row) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    if change != 0 {
                        entry.insert(change);
                    }
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    *entry.get_mut() += change;
                    if *entry.get() == 0 {
                        entry.remove();
                    }
                }
            }
        }
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }

    /// True where `row` is in.
    pub fn contains(&self, row: &T) -> bool {
        self.0.contains_key(row)
    }

    /// True where nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn a_row_taken_back_is_gone_whatever_the_order() {
        let mut rows = Rows::default();
        rows.update(vec![("a", 1), ("b", -1)]);
        rows.update(vec![("b", 1), ("a", 1)]);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [&"a"]);
        rows.update(vec![("a", -2)]);
        assert!(rows.is_empty());
    }
}
