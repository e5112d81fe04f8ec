//! `usk bench`: what single operations, whole commands and sandboxes cost, under each runtime that is found here.
//!
//! Figures of different runs cannot be compared: machines drift. So every runtime gets its turn in every round (A B C A B
//! C …), and what is worth quoting are ratios. [`runtimes`] knows how each is driven, [`place`] holds the files that all
//! see, [`launch`] runs one thing under one of them. [`micro`], [`commands`] and [`life`] say what is measured and fill in
//! the [`results`]; [`statistics`] makes figures of samples, and [`report`] tables, files and pictures. [`goals`] says what
//! usk wants to reach, [`baseline`] what it has reached and must keep.
//!
//! What cannot be measured is a line with its reason: never left out, never a zero.

mod baseline;
mod commands;
mod goals;
mod guest;
mod launch;
mod life;
mod machine;
mod micro;
mod place;
mod report;
mod results;
mod runtimes;
mod session;
mod statistics;
mod verb;

pub(crate) use verb::bench;
