//! The receipt for people.

use std::fmt::Write;

use super::{Line, NATIVE_CALL_NS, Receipt, nanoseconds};
use crate::command_line::PlatformChoice;

pub(super) fn text(receipt: &Receipt<'_>) -> String {
    let mut out = String::new();
    // A string takes whatever is written to it.
    let _ = write(receipt, &mut out);
    out
}

fn write(receipt: &Receipt<'_>, out: &mut String) -> std::fmt::Result {
    let Receipt { totals, model, .. } = receipt;
    let whole = milliseconds(nanoseconds(receipt.whole));
    match receipt.command {
        Some(command) => {
            let around = milliseconds(nanoseconds(receipt.whole.saturating_sub(command)));
            let command = milliseconds(nanoseconds(command));
            writeln!(
                out,
                "usk: {whole} ms: {command} ms the command, {around} ms the sandbox's start and end"
            )?;
        }
        None => writeln!(out, "usk: {whole} ms")?,
    }
    let (slowly, rest) = match receipt.platform {
        PlatformChoice::Trap => ("by a signal", "from patched call sites"),
        PlatformChoice::Ptrace => ("by a stop", "otherwise"),
    };
    let all = receipt.all();
    writeln!(
        out,
        "     {} system calls came to the kernel: {} {slowly}, {} {rest}; {} page faults; {} tasks made, {} programs executed",
        all.calls,
        all.slow,
        all.calls.saturating_sub(all.slow),
        totals.faults,
        totals.tasks,
        totals.programs,
    )?;
    writeln!(
        out,
        "     {} questions to the gofer, {} ms, which are part of the calls' time",
        totals.questions,
        milliseconds(totals.question_ns)
    )?;
    writeln!(out)?;
    let slow_title = slowly.trim_start_matches("by a ");
    writeln!(
        out,
        "{:<14}{:>10}{:>10}{:>14}{:>14}{:>18}",
        "calls about", "count", slow_title, "worked, ms", "asleep, ms", "over native, ms"
    )?;
    let mut families: Vec<_> = receipt.families.iter().collect();
    families.sort_by_key(|(_, line)| std::cmp::Reverse(line.over_native_ns));
    for (family, line) in families {
        row(out, family.name(), line)?;
    }
    row(out, "all", &all)?;
    writeln!(out)?;
    let costliest = receipt.costliest.iter().map(|costly| {
        let times = if costly.times > 1 { format!(", {} times", costly.times) } else { String::new() };
        format!("{} ({} ms{times})", costly.what, milliseconds(costly.over_native_ns))
    });
    writeln!(out, "Costs most: {}", costliest.collect::<Vec<_>>().join("; "))?;
    let measured = |is_measured| if is_measured { "measured in this run" } else { "a usual figure" };
    writeln!(
        out,
        "The estimate: a hand-over of {} µs {slowly} ({}), of {} µs {rest} ({}), and the kernel's work, less {} µs for each call natively",
        microseconds(model.slow_ns),
        measured(model.is_slow_measured),
        microseconds(model.patched_ns),
        measured(model.is_patched_measured),
        microseconds(NATIVE_CALL_NS),
    )?;
    let calls = receipt.unimplemented().iter().map(|call| format!("{} ({})", call.name, call.count));
    let calls: Vec<String> = calls.collect();
    if !calls.is_empty() {
        writeln!(out, "Not implemented: {}", calls.join(", "))?;
    }
    if !receipt.answered_outside.is_empty() {
        let names = receipt.answered_outside.join(", ");
        writeln!(out, "Not counted where they are answered without the kernel: {names}")?;
    }
    Ok(())
}

fn row(out: &mut String, name: &str, line: &Line) -> std::fmt::Result {
    let Line { calls, slow, worked_ns, slept_ns, over_native_ns } = line;
    let [worked, slept, over] = [worked_ns, slept_ns, over_native_ns].map(|&ns| milliseconds(ns));
    writeln!(out, "{name:<14}{calls:>10}{slow:>10}{worked:>14}{slept:>14}{over:>18}")
}

fn milliseconds(ns: u64) -> String {
    format!("{:.2}", ns as f64 / 1e6)
}

fn microseconds(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}
