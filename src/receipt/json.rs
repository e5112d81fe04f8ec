//! The receipt as one JSON object in one line; `docs/options.md` tells what its members mean.

use serde_json::{Value, json};

use super::{Line, NATIVE_CALL_NS, Receipt, nanoseconds};
use crate::command_line::PlatformChoice;

/// Changes when a member gets another meaning or goes.
const VERSION: u32 = 1;

pub(super) fn json(receipt: &Receipt<'_>) -> String {
    let Receipt { ending, totals, model, .. } = receipt;
    let families = receipt.families.iter().map(|(family, line)| {
        let mut object = object(line);
        object["family"] = family.name().into();
        object
    });
    let costliest = receipt.costliest.iter().map(
        |costly| json!({ "what": costly.what, "times": costly.times, "over_native_ns": costly.over_native_ns }),
    );
    let report = json!({
        "report": VERSION,
        "status": ending.status,
        "reason": ending.reason,
        "platform": match receipt.platform {
            PlatformChoice::Trap => "trap",
            PlatformChoice::Ptrace => "ptrace",
        },
        "whole_ns": nanoseconds(receipt.whole),
        "command_ns": receipt.command.map(nanoseconds),
        "all": object(&receipt.all()),
        "families": families.collect::<Vec<_>>(),
        "faults": totals.faults,
        "fault_ns": totals.fault_ns,
        "questions": totals.questions,
        "question_ns": totals.question_ns,
        "tasks": totals.tasks,
        "programs": totals.programs,
        "model": {
            "slow_ns": model.slow_ns,
            "slow_measured": model.is_slow_measured,
            "patched_ns": model.patched_ns,
            "patched_measured": model.is_patched_measured,
            "native_ns": NATIVE_CALL_NS,
        },
        "costliest": costliest.collect::<Vec<_>>(),
        "unimplemented": receipt.unimplemented(),
        "not_counted": receipt.answered_outside,
    });
    format!("{report}\n")
}

fn object(line: &Line) -> Value {
    let Line { calls, slow, worked_ns, slept_ns, over_native_ns } = line;
    json!({
        "calls": calls,
        "slow": slow,
        "worked_ns": worked_ns,
        "slept_ns": slept_ns,
        "over_native_ns": over_native_ns,
    })
}
