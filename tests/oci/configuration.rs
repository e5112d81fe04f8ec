//! Any configuration at all: it is understood or refused with a field's name, and nothing panics.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Arbitrary JSON of some depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop_oneof![
            Just("/"),
            Just("/proc"),
            Just("../../x"),
            Just("CAP_CHOWN"),
            Just("ro"),
            Just("size=9e9"),
            Just("\0")
        ]
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,12}", inner, 0..6)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

/// A configuration that says something about nearly everything.
fn full() -> Value {
    let throttle = json!([{ "major": 8, "minor": 0, "rate": 600 }]);
    let hook = json!([{ "path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 3 }]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": true, "consoleSize": { "height": 1, "width": 2 },
            "user": { "uid": 1, "gid": 2, "umask": 18, "additionalGids": [3] },
            "args": ["a", "b"], "env": ["A=b"], "cwd": "/x",
            "capabilities": { "bounding": ["CAP_CHOWN"], "effective": [], "ambient": ["CAP_KILL"],
                "permitted": ["CAP_KILL"], "inheritable": [] },
            "rlimits": [{ "type": "RLIMIT_CORE", "soft": 1, "hard": 2 }],
            "noNewPrivileges": true, "oomScoreAdj": 5, "apparmorProfile": "x", "selinuxLabel": "y",
            "scheduler": { "policy": "SCHED_OTHER", "nice": 3, "priority": 0, "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                "runtime": 0, "deadline": 0, "period": 0 },
            "execCPUAffinity": { "initial": "0", "final": "0" },
            "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 1 }
        },
        "root": { "path": "rootfs", "readonly": true }, "hostname": "h", "domainname": "d",
        "annotations": { "a": "b" },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"] },
            { "destination": "/t", "type": "tmpfs", "source": "t", "options": ["size=1m", "mode=755", "uid=1"] },
            { "destination": "/b", "type": "bind", "source": "/tmp", "options": ["rbind", "ro", "rprivate"] },
            { "destination": "/o", "type": "overlay", "options": ["lowerdir=/tmp:/var", "xino=off", "private"] },
        ],
        "hooks": { "prestart": hook, "createRuntime": hook, "createContainer": hook,
            "startContainer": hook, "poststart": hook, "poststop": hook },
        "linux": {
            "namespaces": [{ "type": "network", "path": "/proc/self/ns/net" }, { "type": "pid" }, { "type": "uts" }, { "type": "ipc" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 5, "size": 1 }], "gidMappings": [{ "containerID": 0, "hostID": 5, "size": 1 }],
            "devices": [{ "path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438, "uid": 0, "gid": 0 }],
            "cgroupsPath": "/a/b", "sysctl": { "kernel.domainname": "x", "kernel.sem": "1 2 3 4" },
            "resources": {
                "memory": { "limit": 1, "swap": 2, "reservation": 3, "kernel": 4, "kernelTCP": 5, "swappiness": 6,
                    "disableOOMKiller": false, "useHierarchy": true, "checkBeforeUpdate": true },
                "cpu": { "shares": 2, "quota": 2, "period": 3, "burst": 4, "realtimeRuntime": 5, "realtimePeriod": 6,
                    "cpus": "0", "mems": "0", "idle": 0 },
                "pids": { "limit": 4 }, "hugepageLimits": [{ "pageSize": "2MB", "limit": 5 }],
                "blockIO": { "weight": 10, "leafWeight": 11,
                    "weightDevice": [{ "major": 8, "minor": 0, "weight": 10, "leafWeight": 11 }],
                    "throttleReadBpsDevice": throttle, "throttleWriteBpsDevice": throttle,
                    "throttleReadIOPSDevice": throttle, "throttleWriteIOPSDevice": throttle },
                "devices": [{ "allow": false, "type": "c", "major": 1, "minor": 2, "access": "rwm" }],
                "network": { "classID": 1, "priorities": [{ "name": "eth0", "priority": 1 }] },
                "rdma": { "x": { "hcaHandles": 1, "hcaObjects": 2 } },
                "unified": { "memory.high": "1" }
            },
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"], "rootfsPropagation": "slave",
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
                "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
                    "args": [{ "index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ" }] }]
            }, "mountLabel": "z",
            "personality": { "domain": "LINUX", "flags": [] }, "netDevices": { "eth0": { "name": "eth1" } },
            "timeOffsets": { "monotonic": { "secs": 0, "nanosecs": 0 }, "boottime": { "secs": 0, "nanosecs": 0 } },
            "intelRdt": { "closID": "x", "l3CacheSchema": "y", "memBwSchema": "z", "enableCMT": false, "enableMBM": false }
        }
    })
}

/// All places of a value, as JSON pointers.
fn places(value: &Value) -> Vec<String> {
    fn collect(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Array(list) => {
                list.iter()
                    .enumerate()
                    .for_each(|(index, inner)| collect(inner, &format!("{at}/{index}"), found));
            }
            Value::Object(map) => {
                map.iter().for_each(|(name, inner)| collect(inner, &format!("{at}/{name}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

/// A bundle with nothing in its root, which is enough to understand a configuration.
fn empty_bundle() -> TempDir {
    let bundle = tempfile::tempdir().expect("a directory can be made");
    fs::create_dir(bundle.path().join("rootfs")).expect("a directory can be made");
    bundle
}

/// Understands a configuration as `create` does, up to the first process.
fn understand(text: &[u8], bundle: &Path) -> Result<(), String> {
    let (spec, _) = usk_oci::config::parse_spec(text).map_err(|error| format!("{error:#}"))?;
    let container = usk_oci::config::container(&spec, bundle).map_err(|error| format!("{error:#}"))?;
    usk_oci::cgroup::plan(&container.cgroups_path, "id").map_err(|error| format!("{error:#}"))?;
    Ok(())
}

#[test]
fn the_full_configuration_is_understood() {
    let bundle = empty_bundle();
    understand(full().to_string().as_bytes(), bundle.path()).expect("nothing is wrong with it");
}

/// Every field in turn is what it cannot be, or something at the edge of what it can.
#[test]
fn each_field_that_is_wrong_is_named() {
    let wrong = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0.5),
        json!(u64::MAX),
        json!(""),
        json!("\0"),
        json!("../moon"),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "moon": [1] }),
    ];
    let (full, bundle) = (full(), empty_bundle());
    let mut unnamed = Vec::new();
    for place in places(&full) {
        // Of a list's member, the list's name; of the whole, what is missing first.
        let name = place.rsplit('/').find(|name| name.parse::<u32>().is_err()).unwrap_or_default();
        let names: &[&str] = if name.is_empty() { &["config.json", "process"] } else { &[name] };
        for value in &wrong {
            let mut spec = full.clone();
            spec.pointer_mut(&place).expect("it is there").clone_from(value);
            if let Err(message) = understand(spec.to_string().as_bytes(), bundle.path())
                && !names.iter().any(|name| message.contains(name))
            {
                unnamed.push(format!("{place} = {value}: {message}"));
            }
        }
    }
    assert!(unnamed.is_empty(), "{} are not named:\n{}", unnamed.len(), unnamed.join("\n"));
}

proptest! {
    // PROPTEST_CASES says how many cases, if not as many as usual.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = understand(&bytes, empty_bundle().path());
    }

    #[test]
    fn arbitrary_json_does_not_panic(value in any_json()) {
        let _ = understand(value.to_string().as_bytes(), empty_bundle().path());
    }

    #[test]
    fn a_mutated_configuration_does_not_panic_and_an_error_names_a_field(
        place in any::<prop::sample::Index>(), new in any_json(), removed in any::<bool>(),
    ) {
        let mut spec = full();
        let places = places(&spec);
        let place = &places[place.index(places.len())];
        if let Some(at) = spec.pointer_mut(place) {
            *at = if removed { Value::Null } else { new };
        }
        // There it would make places to mount at.
        prop_assume!(spec["root"]["path"] != "/");
        if let Err(message) = understand(spec.to_string().as_bytes(), empty_bundle().path()) {
            // The first name of the path, or one of its inner names, is in the message.
            let names: Vec<&str> = place.split('/').filter(|name| !name.is_empty() && name.parse::<u32>().is_err()).collect();
            let is_named = names.is_empty() || names.iter().any(|name| message.contains(name));
            prop_assert!(is_named, "{place}: {message}");
        }
    }
}
