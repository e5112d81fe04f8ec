//! How an image is named: `oci:DIR[:TAG]`, `docker-archive:FILE[:NAME]`, `oci-archive:FILE[:TAG]`.

use std::path::{Path, PathBuf};

/// Where an image is, and which one it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What kind of place.
    pub transport: Transport,
    /// All after the first colon: a path, and perhaps a tag behind another colon.
    pub place: String,
}

/// What an image is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A directory: the OCI image layout.
    Directory,
    /// A file: what `docker save` writes, or an OCI image layout in a tar archive.
    Archive,
}

/// Reads a reference.
pub fn parse_reference(text: &str) -> Result<Reference, String> {
    let problem = || {
        format!(
            "'{text}' names no image; write oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:NAME]"
        )
    };
    let (transport, place) = text.split_once(':').ok_or_else(problem)?;
    let transport = match transport {
        "oci" => Transport::Directory,
        "oci-archive" | "docker-archive" => Transport::Archive,
        _ => return Err(problem()),
    };
    if place.is_empty() || place.starts_with(':') {
        return Err(problem());
    }
    Ok(Reference { transport, place: place.into() })
}

impl Reference {
    /// The path, and the tag. Both may have colons: the path is the longest that is there.
    pub(super) fn split(&self) -> (PathBuf, Option<&str>) {
        let mut end = self.place.len();
        loop {
            let (path, rest) = self.place.split_at(end);
            let tag = rest.strip_prefix(':').filter(|tag| !tag.is_empty());
            if Path::new(path).exists() {
                return (path.into(), tag);
            }
            match path.rfind(':') {
                Some(colon) if colon > 0 => end = colon,
                // Nothing is there: the first colon is as good as any for an error.
                _ => return (path.into(), tag),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_kind_and_a_place() {
        let parsed = parse_reference("oci:/a/b:tag").unwrap();
        assert_eq!(parsed, Reference { transport: Transport::Directory, place: "/a/b:tag".into() });
        assert_eq!(parse_reference("docker-archive:x.tar").unwrap().transport, Transport::Archive);
        for wrong in ["", "oci", "oci:", "oci::tag", "docker://debian", "debian:12", "/a/b"] {
            assert!(parse_reference(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn colons_belong_to_the_path_if_there_is_such_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| format!("{}/{name}", directory.path().display());
        std::fs::write(path("a:b"), "").unwrap();
        let split = |place: &str| {
            let reference = Reference { transport: Transport::Archive, place: path(place) };
            let (path, tag) = reference.split();
            (path.strip_prefix(directory.path()).unwrap().display().to_string(), tag.map(str::to_owned))
        };
        assert_eq!(split("a:b"), ("a:b".into(), None));
        assert_eq!(split("a:b:name:1"), ("a:b".into(), Some("name:1".into())));
        assert_eq!(split("none:c:d"), ("none".into(), Some("c:d".into())));
    }
}
