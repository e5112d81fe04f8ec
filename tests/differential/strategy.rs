//! Random sequences.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::language::{Actor, CALLS};
use crate::sequence::{ARGUMENTS_MAX, Place, STEPS_MAX, Sequence, Step};

/// How many of the values of an argument are drawn half of the time: the plain ones, so that most calls get somewhere.
const PLAIN_VALUES: usize = 5;

/// Any sequence. It shrinks to fewer calls with plainer arguments.
pub(crate) fn sequence() -> impl Strategy<Value = Sequence> {
    // Most have one thread, because that is where a process is lent the most.
    let casts = [
        vec![Actor::Process],
        vec![Actor::Process],
        vec![Actor::Process, Actor::Process, Actor::Process, Actor::Thread],
        vec![Actor::Process, Actor::Process, Actor::Child],
        vec![Actor::Process, Actor::Process, Actor::Thread, Actor::Child],
    ];
    let place = prop_oneof![Just(Place::Temporary), Just(Place::Exported)];
    (place, select(casts.to_vec())).prop_flat_map(|(place, cast)| {
        vec(step(cast), 1..STEPS_MAX).prop_map(move |steps| Sequence { place, steps })
    })
}

fn step(cast: Vec<Actor>) -> impl Strategy<Value = Step> {
    let by_weight: Vec<usize> = CALLS
        .iter()
        .enumerate()
        .flat_map(|(index, call)| std::iter::repeat_n(index, call.weight as usize))
        .collect();
    (select(cast), select(by_weight)).prop_flat_map(|(actor, call)| {
        let lists = CALLS[call].arguments;
        let argument = move |index: usize| {
            let count = lists.get(index).map_or(1, |values| values.len());
            prop_oneof![0..count.min(PLAIN_VALUES), 0..count]
        };
        let arguments: [_; ARGUMENTS_MAX] = std::array::from_fn(argument);
        arguments.prop_map(move |arguments| Step { actor, call, arguments })
    })
}
