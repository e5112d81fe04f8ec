//! `linux.uidMappings` and `linux.gidMappings`: users of the container that are others on the host. The host's kernel
//! translates the owners of files, in a user namespace of the gofer's; the guest's sees the translated ones.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use usk::spec::UserMap;
use usk_platform::host::namespaces::IdRange;

/// Most lines of a map (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_RANGES: usize = 340;

/// The maps, if there are any.
pub(super) fn users(spec: &Spec) -> Result<Option<UserMap>> {
    let Some(linux) = spec.linux() else { return Ok(None) };
    let listed =
        |mappings: &Option<Vec<LinuxIdMapping>>| mappings.as_ref().is_some_and(|list| !list.is_empty());
    let (has_users, has_groups) = (listed(linux.uid_mappings()), listed(linux.gid_mappings()));
    let has_namespace =
        linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    match (has_namespace, has_users, has_groups) {
        (_, false, false) => return Ok(None),
        (false, ..) => bail!(
            "linux.uidMappings, linux.gidMappings: user namespace mappings specified, but user namespace isn't enabled \
             in the config (linux.namespaces)"
        ),
        (true, true, false) => bail!("linux.gidMappings: they are missing beside linux.uidMappings"),
        (true, false, true) => bail!("linux.uidMappings: they are missing beside linux.gidMappings"),
        (true, true, true) => {}
    }
    let users = ranges_with_root(linux.uid_mappings()).context("linux.uidMappings")?;
    let groups = ranges_with_root(linux.gid_mappings()).context("linux.gidMappings")?;
    Ok(Some(UserMap { users, groups }))
}

fn ranges_with_root(mappings: &Option<Vec<LinuxIdMapping>>) -> Result<Vec<IdRange>> {
    let ranges = ranges(mappings.as_deref().unwrap_or_default())?;
    if !ranges.iter().any(|range| range.inner == 0) {
        bail!("the container's id 0 is in none of them");
    }
    Ok(ranges)
}

/// The lines of a map.
pub(super) fn ranges(mappings: &[LinuxIdMapping]) -> Result<Vec<IdRange>> {
    if mappings.len() > MAX_RANGES {
        bail!("more than {MAX_RANGES}");
    }
    let mut ranges: Vec<IdRange> = Vec::with_capacity(mappings.len());
    for (index, mapping) in mappings.iter().enumerate() {
        let range =
            IdRange { inner: mapping.container_id(), outer: mapping.host_id(), count: mapping.size() };
        if range.count == 0 {
            bail!("[{index}].size: it is 0");
        }
        // The last id means that there is none.
        let ends = [range.inner, range.outer].map(|first| u64::from(first) + u64::from(range.count));
        if ends.iter().any(|&end| end > u64::from(u32::MAX)) {
            bail!("[{index}].size: {} ids are too many from there on", range.count);
        }
        let meet = |one: u32, other: u32, length: u32| {
            let (one, other) = (u64::from(one), u64::from(other));
            one < other + u64::from(length) && other < one + u64::from(range.count)
        };
        if ranges.iter().any(|known| {
            meet(range.inner, known.inner, known.count) || meet(range.outer, known.outer, known.count)
        }) {
            bail!("[{index}]: it overlaps an earlier one");
        }
        ranges.push(range);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(users: serde_json::Value, groups: serde_json::Value, kind: &str) -> Result<Option<UserMap>> {
        let spec = serde_json::json!({ "ociVersion": "1.2.0", "linux": {
            "uidMappings": users, "gidMappings": groups, "namespaces": [{ "type": kind }] } });
        users_of(&spec)
    }

    fn users_of(spec: &serde_json::Value) -> Result<Option<UserMap>> {
        users(&serde_json::from_value(spec.clone()).unwrap())
    }

    #[test]
    fn maps_are_checked_with_the_name_of_the_field() {
        let one = |inner: u32, outer: u32, size: u32| serde_json::json!({ "containerID": inner, "hostID": outer, "size": size });
        let good = serde_json::json!([one(0, 1000, 10), one(10, 5000, 1)]);
        let map = with(good.clone(), good.clone(), "user").unwrap().unwrap();
        assert_eq!(map.users, [IdRange { inner: 0, outer: 1000, count: 10 }, IdRange::one(10, 5000)]);
        for (bad, kind, problem) in [
            (serde_json::json!([one(0, 1, 0)]), "user", "linux.uidMappings: [0].size: "),
            (serde_json::json!([one(0, u32::MAX, 1)]), "user", "linux.uidMappings: [0].size: "),
            (serde_json::json!([one(0, 5, 5), one(4, 50, 1)]), "user", "linux.uidMappings: [1]: "),
            (serde_json::json!([one(0, 5, 5), one(9, 9, 1)]), "user", "linux.uidMappings: [1]: "),
            (serde_json::json!([one(1, 5, 5)]), "user", "linux.uidMappings: the container's id 0"),
            (serde_json::json!([]), "user", "linux.uidMappings: they are missing"),
            (good.clone(), "pid", "user namespace isn't enabled in the config"),
        ] {
            let error = format!("{:#}", with(bad, good.clone(), kind).unwrap_err());
            assert!(error.contains(problem), "{error}");
        }
    }
}
