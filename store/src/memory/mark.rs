//! Who has changed something, and when: enough to tell, for each handle, whether another one has
//! changed it since.

/// The last change of something, and the last one by another writer than that.
///
/// For who made the last change, what others did last is the change before it by somebody else; for
/// everybody else it is the last change. So two sequences and one name answer the question for any
/// number of writers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    changed: u64,
    by: u64,
    by_another: u64,
}

impl Mark {
    /// The sequence of the last change.
    pub(super) fn sequence(&self) -> u64 {
        self.changed
    }

    /// Notes a change.
    pub(super) fn set(&mut self, sequence: u64, writer: u64) {
        if self.by != writer {
            self.by_another = self.changed;
        }
        self.changed = sequence;
        self.by = writer;
    }

    /// Notes a change at the next sequence, and says which one that is.
    pub(super) fn next(&mut self, writer: u64) -> u64 {
        self.set(self.changed + 1, writer);
        self.changed
    }

    /// Whether another than `reader` has made a change after `after`.
    pub(super) fn is_news(&self, after: u64, reader: u64) -> bool {
        after
            < if self.by == reader {
                self.by_another
            } else {
                self.changed
            }
    }
}

/// A value with its last change.
#[derive(Debug)]
pub(super) struct Marked<T> {
    pub(super) value: T,
    pub(super) mark: Mark,
}

impl<T: Clone> Marked<T> {
    /// A value that is new.
    pub(super) fn new(value: T, sequence: u64, writer: u64) -> Self {
        Self {
            value,
            mark: Mark {
                changed: sequence,
                by: writer,
                by_another: 0,
            },
        }
    }

    /// Changes it.
    pub(super) fn change(&mut self, sequence: u64, writer: u64, change: impl FnOnce(&mut T)) {
        change(&mut self.value);
        self.mark.set(sequence, writer);
    }

    /// Those that are news.
    pub(super) fn news<'a>(all: impl Iterator<Item = &'a Self>, after: u64, reader: u64) -> Vec<T>
    where
        T: 'a,
    {
        all.filter(|marked| marked.mark.is_news(after, reader))
            .map(|marked| marked.value.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_news_to_all_but_its_writer() {
        let mut mark = Mark::default();
        mark.set(1, 7);
        assert!(!mark.is_news(0, 7) && mark.is_news(0, 8) && !mark.is_news(1, 8));
        mark.set(2, 8);
        assert!(
            mark.is_news(0, 7) && mark.is_news(1, 7) && mark.is_news(0, 8) && !mark.is_news(1, 8)
        );
        mark.set(3, 8);
        assert!(
            mark.is_news(2, 7) && mark.is_news(0, 8) && !mark.is_news(1, 8) && mark.is_news(2, 9)
        );
    }
}
