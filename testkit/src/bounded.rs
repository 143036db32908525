//! A map of bounded size.

use std::collections::{HashMap, VecDeque};

/// A map that drops its oldest entries, so that the simulators do not grow in long tests.
pub(crate) struct Bounded<V> {
    items: HashMap<String, V>,
    order: VecDeque<String>,
    capacity: usize,
}

impl<V> Bounded<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { items: HashMap::new(), order: VecDeque::new(), capacity }
    }

    pub(crate) fn insert(&mut self, key: String, value: V) {
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.items.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.items.insert(key, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.items.contains_key(key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.items.get_mut(key)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        self.items.remove(key)
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.items.retain(|_, value| keep(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_drops_the_oldest_entry() {
        let mut map = Bounded::new(2);
        for key in ["a", "b", "c"] {
            map.insert(key.into(), ());
        }
        assert!(map.get_mut("a").is_none() && map.get_mut("b").is_some() && map.order.len() == 2);
    }
}
