//! Numbers for things that come and go without end, of which the last ones can still be looked up.

/// Gives out numbers and remembers what the last of them stand for.
#[derive(Debug)]
pub struct Recent<T> {
    entries: Vec<(u32, T)>,
    capacity: usize,
    next: u32,
    /// Numbers stay below this.
    limit: u32,
}

impl<T> Recent<T> {
    /// Remembers the last `capacity` things; numbers stay below `limit` and begin again at 0 after it.
    pub const fn new(capacity: usize, limit: u32) -> Self {
        Self { entries: Vec::new(), capacity, next: 0, limit }
    }

    /// The number of a new thing.
    pub fn push(&mut self, thing: T) -> u32 {
        let number = self.next;
        self.next = (self.next + 1) % self.limit;
        let slot = number as usize % self.capacity;
        match self.entries.get_mut(slot) {
            Some(entry) => *entry = (number, thing),
            None => self.entries.push((number, thing)),
        }
        number
    }

    /// What a number stands for, to be changed, if it is not too long ago.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (held, thing) = self.entries.get_mut(number as usize % self.capacity)?;
        (*held == number).then_some(thing)
    }

    /// What a number stands for, if it is not too long ago.
    pub fn get(&self, number: u32) -> Option<&T> {
        let (held, thing) = self.entries.get(number as usize % self.capacity)?;
        (*held == number).then_some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut recent = Recent::new(2, 100);
        let numbers: Vec<_> = ["a", "b", "c"].map(|thing| recent.push(thing)).into();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!([recent.get(0), recent.get(1), recent.get(2)], [None, Some(&"b"), Some(&"c")]);
    }

    #[test]
    fn numbers_begin_again_at_their_limit() {
        let mut recent = Recent::new(4, 4);
        let numbers: Vec<_> = (0..6).map(|thing| recent.push(thing)).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 0, 1]);
        assert_eq!(recent.get(1), Some(&5));
    }
}
