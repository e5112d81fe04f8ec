//! What a profile says about each call. Names that Linux does not have on this machine are passed over, so that one profile
//! serves all kernels.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};
use usk_abi::Errno;
use usk_abi::seccomp::*;

use crate::log;

/// Arguments of a system call.
const ARGUMENTS: usize = 6;

/// A profile by the numbers of the calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// `SECCOMP_RET_*` for calls without a rule.
    pub(super) default: u32,
    /// The same for calls above all that the profile knows: what is newer than the profile does not exist.
    pub(super) unknown: u32,
    /// The number from which on that holds.
    pub(super) first_unknown: u32,
    pub(super) calls: BTreeMap<u32, Call>,
}

/// What is said about one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Always this.
    Always(u32),
    /// The first alternative of which all conditions hold; else the default.
    Depends(Vec<Alternative>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) conditions: Vec<Condition>,
    pub(super) returned: u32,
}

/// A comparison of an argument as an unsigned number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, below [`ARGUMENTS`].
    pub(super) argument: u32,
    pub(super) comparison: Comparison,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    MaskedEqual { mask: u64, value: u64 },
}

pub(super) fn rules(profile: &LinuxSeccomp) -> Result<Rules> {
    let default =
        returned(profile.default_action(), profile.default_errno_ret()).map_err(|(field, problem)| {
            let field = if field == "action" { "defaultAction" } else { "defaultErrnoRet" };
            problem.context(format!("linux.seccomp.{field}"))
        })?;
    if profile.flags().iter().flatten().any(|flag| flag.to_string() == "SECCOMP_FILTER_FLAG_LOG") {
        log::debug(
            "linux.seccomp.flags: SECCOMP_FILTER_FLAG_LOG has no effect: the guest's kernel logs nothing",
        );
    }
    let mut calls = BTreeMap::new();
    let mut first_unknown = 0;
    for (index, rule) in profile.syscalls().iter().flatten().enumerate() {
        let field = |name: &str| format!("linux.seccomp.syscalls[{index}].{name}");
        let returned = returned(rule.action(), rule.errno_ret())
            .map_err(|(name, problem)| problem.context(field(name)))?;
        let alternatives =
            alternatives(rule.args().as_deref().unwrap_or_default()).with_context(|| field("args"))?;
        for name in rule.names() {
            if name.is_empty() {
                bail!("{}: an empty string is no system call", field("names"));
            }
            let Some(number) = usk::syscall_number(name).and_then(|number| u32::try_from(number).ok()) else {
                log::debug(&format!("{}: {name:?} is not known and passed over", field("names")));
                continue;
            };
            first_unknown = first_unknown.max(number + 1);
            // What would happen anyway is no rule: it does not stand in the way of others.
            if returned != default {
                add(&mut calls, number, &alternatives, returned);
            }
        }
    }
    let is_permissive = matches!(default, SECCOMP_RET_ALLOW | SECCOMP_RET_LOG)
        || default & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_TRACE;
    let unknown = if is_permissive || first_unknown == 0 { default } else { errno(Errno::ENOSYS) };
    Ok(Rules { default, unknown, first_unknown, calls })
}

/// Adds a rule as libseccomp does: the first one without conditions holds, whatever else is said about the call.
fn add(calls: &mut BTreeMap<u32, Call>, number: u32, alternatives: &[Vec<Condition>], returned: u32) {
    if alternatives.is_empty() {
        let call = calls.entry(number).or_insert(Call::Always(returned));
        if matches!(call, Call::Depends(_)) {
            *call = Call::Always(returned);
        }
        return;
    }
    if let Call::Depends(known) = calls.entry(number).or_insert_with(|| Call::Depends(Vec::new())) {
        known.extend(
            alternatives.iter().map(|conditions| Alternative { conditions: conditions.clone(), returned }),
        );
    }
}

/// The conditions of a rule. Those of one argument are alternatives, each by itself, as runc has it; else all must hold.
fn alternatives(arguments: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let conditions = arguments.iter().map(condition).collect::<Result<Vec<_>>>()?;
    let is_twice = |(at, condition): (usize, &Condition)| {
        conditions.iter().take(at).any(|earlier| earlier.argument == condition.argument)
    };
    Ok(if conditions.is_empty() {
        Vec::new()
    } else if conditions.iter().enumerate().any(is_twice) {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    })
}

fn condition(argument: &LinuxSeccompArg) -> Result<Condition> {
    let (index, value) = (argument.index(), argument.value());
    let comparison = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => Comparison::NotEqual(value),
        LinuxSeccompOperator::ScmpCmpLt => Comparison::Less(value),
        LinuxSeccompOperator::ScmpCmpLe => Comparison::LessOrEqual(value),
        LinuxSeccompOperator::ScmpCmpEq => Comparison::Equal(value),
        LinuxSeccompOperator::ScmpCmpGe => Comparison::GreaterOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGt => Comparison::Greater(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Comparison::MaskedEqual { mask: value, value: argument.value_two().unwrap_or(0) }
        }
    };
    match u32::try_from(index) {
        Ok(argument) if index < ARGUMENTS => Ok(Condition { argument, comparison }),
        _ => bail!("index: a system call has no argument {index}, only 0 to 5"),
    }
}

/// An action as a program returns it. An error comes with the field.
fn returned(action: LinuxSeccompAction, number: Option<u32>) -> Result<u32, (&'static str, anyhow::Error)> {
    let data = || {
        let data = number.unwrap_or(Errno::EPERM.raw().unsigned_abs());
        if data > SECCOMP_RET_DATA {
            let problem = anyhow::anyhow!("{data} is too large for the number of an error");
            return Err(("errnoRet", problem));
        }
        Ok(data)
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => SECCOMP_RET_KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => SECCOMP_RET_ERRNO | data()?,
        LinuxSeccompAction::ScmpActTrace => SECCOMP_RET_TRACE | data()?,
        LinuxSeccompAction::ScmpActLog => SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActNotify => {
            let problem = anyhow::anyhow!(
                "SCMP_ACT_NOTIFY asks an agent on the host, which usk's kernel cannot do; use another action"
            );
            return Err(("action", problem));
        }
    })
}

fn errno(errno: Errno) -> u32 {
    SECCOMP_RET_ERRNO | errno.raw().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(profile: serde_json::Value) -> Result<Rules> {
        rules(&serde_json::from_value(profile).unwrap())
    }

    #[test]
    fn the_first_rule_without_conditions_holds() {
        let rules = parse(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                { "names": ["read", "moon"], "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] },
                { "names": ["read"], "action": "SCMP_ACT_KILL_PROCESS" },
                { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["write"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
                { "names": ["write"], "action": "SCMP_ACT_LOG" },
            ],
        }))
        .unwrap();
        assert_eq!(rules.calls.get(&0), Some(&Call::Always(SECCOMP_RET_KILL_PROCESS)));
        assert_eq!(rules.calls.get(&1), Some(&Call::Always(SECCOMP_RET_LOG)));
        assert_eq!((rules.first_unknown, rules.unknown), (2, errno(Errno::ENOSYS)));
    }

    #[test]
    fn a_permissive_profile_lets_unknown_calls_through() {
        let rules = parse(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }],
        }))
        .unwrap();
        assert_eq!(rules.unknown, SECCOMP_RET_ALLOW);
    }

    #[test]
    fn two_conditions_on_one_argument_are_alternatives() {
        let condition = |value| serde_json::json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" });
        let rules = parse(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [condition(0), condition(8)] }],
        }))
        .unwrap();
        let Some(Call::Depends(alternatives)) = rules.calls.get(&135) else { panic!("{rules:?}") };
        assert_eq!(alternatives.len(), 2);
    }

    #[test]
    fn an_error_names_the_field() {
        let one = |rule| serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        for (profile, field) in [
            (serde_json::json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "linux.seccomp.defaultAction:"),
            (
                serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000 }),
                "linux.seccomp.defaultErrnoRet:",
            ),
            (
                one(serde_json::json!({ "names": ["read"], "action": "SCMP_ACT_NOTIFY" })),
                "linux.seccomp.syscalls[0].action:",
            ),
            (
                one(serde_json::json!({ "names": [""], "action": "SCMP_ACT_LOG" })),
                "linux.seccomp.syscalls[0].names:",
            ),
            (
                one(serde_json::json!({ "names": ["read"], "action": "SCMP_ACT_LOG",
                    "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] })),
                "linux.seccomp.syscalls[0].args: index:",
            ),
        ] {
            let error = format!("{:#}", parse(profile).unwrap_err());
            assert!(error.starts_with(field), "{error}");
        }
    }
}
