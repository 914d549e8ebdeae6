//! What follows the files of forms: nothing but the end of the form mostly, but a plain page sends its
//! button, and some clients leave out the last line end. Whoever sends one form that way sends the next
//! one so, too.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::fields::Form;

/// Most habits that are remembered: as many kilobytes as 64 of them take; then they are learnt anew.
const HABITS_MAX: usize = 4096;

/// Bytes that followed files, by whose habit it is.
#[derive(Debug, Default)]
pub struct Endings(HashMap<u64, u64>);

/// Who sends forms in one way: the same sender, with the same kind of client, the same fields and a
/// boundary of the same length. Another sender's habits are never taken for its own: they may be a trick.
#[must_use]
pub fn habit(sender: impl Hash, client: Option<&[u8]>, form: &Form, closing: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (sender, client, closing).hash(&mut hasher);
    for (name, _) in form.fields() {
        name.hash(&mut hasher);
    }
    hasher.finish()
}

impl Endings {
    /// How many bytes followed the last file, where that is known.
    #[must_use]
    pub fn of(&self, habit: u64) -> Option<u64> {
        self.0.get(&habit).copied()
    }

    /// So many bytes followed a file.
    pub fn learn(&mut self, habit: u64, bytes: u64) {
        if self.0.len() >= HABITS_MAX && !self.0.contains_key(&habit) {
            self.0.clear();
        }
        self.0.insert(habit, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_are_of_one_sender_and_bounded() {
        let mut form = Form::default();
        form.add("key", "k".to_owned()).unwrap();
        let one = habit("192.0.2.1", Some(b"browser"), &form, 40);
        form.add("acl", "private".to_owned()).unwrap();
        for other in [
            habit("192.0.2.2", Some(b"browser"), &Form::default(), 40),
            habit("192.0.2.1", Some(b"browser"), &form, 40),
            habit("192.0.2.1", None, &Form::default(), 40),
            habit("192.0.2.1", Some(b"browser"), &Form::default(), 41),
        ] {
            assert_ne!(one, other);
        }
        let mut endings = Endings::default();
        endings.learn(one, 7);
        endings.learn(one, 8);
        assert_eq!(endings.of(one), Some(8));
        for habit in 0..10_000 {
            endings.learn(habit, 1);
            assert!(endings.0.len() <= HABITS_MAX);
        }
        assert_eq!(endings.of(one), None);
    }
}
