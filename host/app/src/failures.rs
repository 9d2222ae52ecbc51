//! Calls of one kind that fail one after the other, for the log: a few are everyday, more must not be passed over in
//! silence, nor fill the log. Decides nothing but what is said.

/// Failures in a row before the log says so.
const SAID_FROM: u32 = 4;

/// The failures in a row of one kind of call.
#[derive(Debug)]
pub(crate) struct Failures {
    in_a_row: u32,
    said_from: u32,
}

/// What the log should say after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Nothing,
    /// It has failed so often in a row, and is tried on.
    Failing(u32),
    /// It works again, after the log has said that it does not.
    Mended,
}

impl Failures {
    /// Of calls that a start waits for: until one has worked, the first failure is said, for it may well be the last.
    pub(crate) fn at_start() -> Self {
        Self { said_from: 1, ..Self::default() }
    }

    /// Takes note of a call's end.
    pub(crate) fn after(&mut self, failed: bool) -> Say {
        if failed {
            self.in_a_row = self.in_a_row.saturating_add(1);
            let is_said = self.in_a_row >= self.said_from && self.in_a_row.is_power_of_two();
            return if is_said { Say::Failing(self.in_a_row) } else { Say::Nothing };
        }
        let Self { in_a_row: before, said_from } = std::mem::take(self);
        if before >= said_from { Say::Mended } else { Say::Nothing }
    }
}

impl Default for Failures {
    fn default() -> Self {
        Self { in_a_row: 0, said_from: SAID_FROM }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_is_said_less_and_less_often_and_its_end_once() {
        let mut failures = Failures::default();
        let said: Vec<Say> = (0..20).map(|_| failures.after(true)).filter(|say| *say != Say::Nothing).collect();
        assert_eq!(said, [Say::Failing(4), Say::Failing(8), Say::Failing(16)]);
        assert_eq!([failures.after(false), failures.after(false)], [Say::Mended, Say::Nothing]);
    }

    #[test]
    fn what_a_start_waits_for_is_said_at_once() {
        let mut failures = Failures::at_start();
        assert_eq!([failures.after(true), failures.after(true)], [Say::Failing(1), Say::Failing(2)]);
        assert_eq!(failures.after(false), Say::Mended);
        assert_eq!(failures.after(true), Say::Nothing, "it has worked");
        assert_eq!(Failures::at_start().after(false), Say::Nothing);
    }

    #[test]
    fn what_fails_now_and_then_is_not_worth_a_word() {
        let mut failures = Failures::default();
        let everyday = [true, true, true, false].into_iter().cycle().take(40);
        assert!(everyday.map(|failed| failures.after(failed)).all(|say| say == Say::Nothing));
    }
}
