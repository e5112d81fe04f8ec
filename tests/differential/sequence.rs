//! A sequence: as a value, as a listing for people, as a message for the guest.

use std::fmt::{self, Display, Formatter};

use crate::language::{Actor, CALLS, Call};
use crate::values::{CONSTANTS, Meaning, PAGE, Values};

/// Arguments that a call has at most.
pub(crate) const ARGUMENTS_MAX: usize = 6;
/// Calls that a sequence has at most; as in `message.h`.
pub(crate) const STEPS_MAX: usize = 64;
/// Longest name of a sequence's directory; as in `message.h`.
const DIRECTORY_SIZE: usize = 256;

/// Which files a sequence finds: the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It makes them itself, in a tmpfs.
    Temporary,
    /// They are the host's, and the sandbox's root lies over them.
    Exported,
}

const PLACES: [(Place, &str); 2] = [(Place::Temporary, "temporary"), (Place::Exported, "exported")];

/// One call of a sequence: its number in [`CALLS`], and that of each argument in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) actor: Actor,
    pub(crate) call: usize,
    pub(crate) arguments: [usize; ARGUMENTS_MAX],
}

/// A sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) place: Place,
    pub(crate) steps: Vec<Step>,
}

impl Step {
    fn call(&self) -> &'static Call {
        &CALLS[self.call]
    }
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (_, actor) = Actor::ALL.iter().find(|(actor, _)| *actor == self.actor).ok_or(fmt::Error)?;
        let texts = self.call().arguments.iter().zip(self.arguments).map(|(values, index)| values[index].0);
        write!(formatter, "{actor}: {}({})", self.call().name, texts.collect::<Vec<_>>().join(", "))
    }
}

impl Display for Sequence {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let (_, place) = PLACES.iter().find(|(place, _)| *place == self.place).ok_or(fmt::Error)?;
        writeln!(formatter, "files: {place}")?;
        self.steps.iter().try_for_each(|step| writeln!(formatter, "{step}"))
    }
}

impl Sequence {
    /// Reads a listing as it is displayed. Empty lines and those that begin with `#` are for people.
    pub(crate) fn parse(listing: &str) -> Result<Sequence, String> {
        let lines = listing.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut place = None;
        let mut steps = Vec::new();
        for line in lines {
            let malformed = || format!("not a line of a listing: {line}");
            let (subject, rest) = line.split_once(": ").ok_or_else(malformed)?;
            if subject == "files" {
                place = PLACES.iter().find(|(_, name)| *name == rest).map(|(place, _)| *place);
                continue;
            }
            let (actor, _) = Actor::ALL.iter().find(|(_, name)| *name == subject).ok_or_else(malformed)?;
            let (name, rest) = rest.split_once('(').ok_or_else(malformed)?;
            let call = CALLS.iter().position(|call| call.name == name).ok_or_else(malformed)?;
            let texts = rest.strip_suffix(')').ok_or_else(malformed)?;
            let texts: Vec<&str> = texts.split(", ").filter(|text| !text.is_empty()).collect();
            let lists = CALLS[call].arguments;
            let mut arguments = [0; ARGUMENTS_MAX];
            if texts.len() != lists.len() {
                return Err(malformed());
            }
            for (argument, (values, text)) in arguments.iter_mut().zip(lists.iter().zip(texts)) {
                *argument = values.iter().position(|value| value.0 == text).ok_or_else(malformed)?;
            }
            steps.push(Step { actor: *actor, call, arguments });
        }
        let place = place.ok_or("the listing does not say which files")?;
        if steps.len() > STEPS_MAX { Err("too many calls".to_owned()) } else { Ok(Sequence { place, steps }) }
    }

    /// `struct message` of `message.h`.
    pub(crate) fn encode(&self, directory: &str) -> Vec<u8> {
        let mut constants = Constants(Vec::new());
        let mut calls = Vec::new();
        for step in &self.steps {
            let call = step.call();
            let [treatment, treated] = call.treatment.encode();
            for word in [step.actor as u32, call.number, treatment, treated] {
                calls.extend(word.to_le_bytes());
            }
            for index in 0..ARGUMENTS_MAX {
                let value = call
                    .arguments
                    .get(index)
                    .map_or(0, |values| constants.word(values, step.arguments[index]));
                calls.extend(value.to_le_bytes());
            }
        }
        let makes_files = u32::from(self.place == Place::Temporary);
        let call_size = 16 + 8 * ARGUMENTS_MAX;
        let mut message = Vec::new();
        message.extend((self.steps.len() as u32).to_le_bytes());
        message.extend(makes_files.to_le_bytes());
        assert!(directory.len() < DIRECTORY_SIZE && constants.0.len() <= PAGE as usize);
        for (bytes, size) in [
            (directory.as_bytes(), DIRECTORY_SIZE),
            (&constants.0, PAGE as usize),
            (&calls, STEPS_MAX * call_size),
        ] {
            let end = message.len() + size;
            message.extend(bytes);
            message.resize(end, 0);
        }
        message
    }
}

/// What is in memory before each call.
struct Constants(Vec<u8>);

impl Constants {
    /// What stands in the register for a value; memory that it needs is added.
    fn word(&mut self, values: Values, index: usize) -> u64 {
        match values[index].1 {
            Meaning::Number(number) => number,
            Meaning::Bytes(bytes) => self.place(bytes),
            Meaning::Words(words) => {
                self.place(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
            }
        }
    }

    fn place(&mut self, bytes: &[u8]) -> u64 {
        let same = (0..self.0.len()).step_by(8).find(|&place| self.0[place..].starts_with(bytes));
        let place = same.unwrap_or(self.0.len());
        if same.is_none() {
            self.0.extend(bytes);
            self.0.resize(self.0.len().next_multiple_of(8), 0);
        }
        CONSTANTS + place as u64
    }
}
