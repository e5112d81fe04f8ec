//! Whatever an image holds, reading it neither panics nor touches anything outside of where it is unpacked; and layers lie
//! over each other as the host's overlayfs would lay them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::compression::decompress;
use super::digest::Digest;
use super::layer::unpack;
use super::limits::Budget;
use super::listing::{Brought, Listing, Place};
use super::manifest;
use super::reference::Transport;
use super::root::{Merged, Node, read_unseen};
use super::settings::Settings;
use super::source::Source;
use super::tree::Tree;

/// An entry of a hostile layer.
#[derive(Clone, Debug)]
struct Hostile {
    path: String,
    kind: EntryType,
    link: String,
    size: u16,
}

/// Paths of few names, so that they meet, and of all that has a meaning.
fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        6 => prop_oneof![Just("a"), Just("b"), Just("c")],
        2 => prop_oneof![Just(".wh.a"), Just(".wh.b"), Just(".wh..wh..opq")],
        1 => prop_oneof![Just("."), Just(".."), Just(""), Just(".wh."), Just(".wh..."), Just(".wh..wh.x"), Just("dev")],
    ];
    (vec(name, 1..5), any::<bool>())
        .prop_map(|(names, rooted)| format!("{}{}", if rooted { "/" } else { "" }, names.join("/")))
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let kind = prop_oneof![
        4 => Just(EntryType::Regular),
        4 => Just(EntryType::Directory),
        3 => Just(EntryType::Symlink),
        3 => Just(EntryType::Link),
        1 => Just(EntryType::Fifo),
        1 => Just(EntryType::Char),
    ];
    let link = prop_oneof![path(), Just("/".into()), Just("../../..".into()), Just(".".into())];
    (path(), kind, link, 0_u16..1500).prop_map(|(path, kind, link, size)| Hostile { path, kind, link, size })
}

fn archive(entries: &[Hostile]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for Hostile { path, kind, link, size } in entries {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_link_name_literal(link).unwrap();
        let size = if *kind == EntryType::Regular { *size } else { 0 };
        header.set_size(size.into());
        header.set_mode(0o6777);
        header.set_uid(7);
        header.set_gid(7);
        header.set_mtime(1);
        header.set_cksum();
        builder.append(&header, &vec![b'x'; size.into()][..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A directory with a tree in it, and something beside that must stay as it is.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Site {
        let place = Site { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(place.directory.path().join("inside")).unwrap();
        fs::write(place.directory.path().join("a"), "outside").unwrap();
        fs::write(place.directory.path().join("inside/a"), "outside").unwrap();
        place
    }

    fn tree(&self, name: &str) -> Tree {
        Tree::make(&self.directory.path().join("inside").join(name)).unwrap()
    }

    /// Checks what is beside the trees.
    fn check(&self, trees: usize) {
        let names = |path: &Path| fs::read_dir(path).unwrap().count();
        let path = self.directory.path();
        assert_eq!((names(path), names(&path.join("inside"))), (2, trees + 1));
        for file in ["a", "inside/a"] {
            assert_eq!(fs::read(path.join(file)).unwrap(), b"outside");
        }
    }
}

/// What the host sees at each place of a tree, links not followed.
fn places(root: &Path) -> BTreeSet<Place> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            found.insert(path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec());
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                directories.push(path);
            }
        }
    }
    found
}

/// What overlayfs finds at a place: it goes down name by name, with the layers that have a say there, topmost first.
fn look_up(layers: &[Listing], place: &[u8]) -> Option<(bool, usize)> {
    let until_opaque = |stack: Vec<usize>, place: &[u8]| {
        let end = stack.iter().position(|&number| layers[number].emptied.contains(place));
        stack[..end.map_or(stack.len(), |end| end + 1)].to_vec()
    };
    let mut stack = until_opaque((0..layers.len()).rev().collect(), b"");
    let ends = place.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
    let mut found = None;
    for end in ends.chain([place.len()]) {
        let here = &place[..end];
        found = None;
        let mut below = Vec::new();
        for &number in &stack {
            let layer = &layers[number];
            match layer.brought.get(here) {
                Some(Brought::File(..)) => {
                    found = found.or(Some((false, number)));
                    break;
                }
                Some(_) => {
                    found = found.or(Some((true, number)));
                }
                None => {}
            }
            below.push(number);
            if layer.removed.contains(here) {
                break;
            }
        }
        match found {
            Some((true, _)) => stack = until_opaque(below, here),
            // Nothing is below a file.
            _ if end < place.len() => return None,
            _ => {}
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_no_layer_and_no_harm(bytes in vec(any::<u8>(), 0..4096), magic in 0_usize..4) {
        let magics: [&[u8]; 4] = [b"", &[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], &[0x50, 0x2a, 0x4d, 0x18]];
        let bytes = [magics[magic], &bytes].concat();
        let place = Site::new();
        if let Ok(plain) = decompress(&bytes[..]) {
            let _ = unpack(plain, &mut place.tree("layer"), &mut { Budget::WHOLE });
            place.check(1);
        }
        let _ = Listing::parse(&bytes);
        let _ = read_unseen(&bytes, &mut place.tree("root"));
    }

    #[test]
    fn a_damaged_archive_is_unpacked_inside_or_refused_in_one_line(
        entries in vec(hostile(), 1..8),
        damages in vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = archive(&entries);
        for (at, byte, mended) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            // With a right checksum damages of a header come further.
            let block = at / 512 * 512;
            if mended && let Some(block) = bytes.get_mut(block..block + 512) {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        bytes.truncate(cut.index(bytes.len() * 4).max(512));
        let place = Site::new();
        if let Err(error) = unpack(&bytes[..], &mut place.tree("layer"), &mut { Budget::WHOLE }) {
            prop_assert_eq!(format!("{error:#}").lines().count(), 1);
        }
        place.check(1);
    }

    #[test]
    fn layers_become_the_root_that_overlayfs_would_show(
        archives in vec(vec(hostile(), 0..10), 1..5)
    ) {
        let place = Site::new();
        let mut listings = Vec::new();
        let mut trees = Vec::new();
        for (number, entries) in archives.iter().enumerate() {
            let name = format!("layer{number}");
            let mut tree = place.tree(&name);
            // Each entry that is refused ends a layer: those before it are tried.
            let lengths = (0..=entries.len()).rev();
            let mut accepted = None;
            for length in lengths {
                let trial = format!("trial{number}");
                let unpacked = unpack(&archive(&entries[..length])[..], &mut place.tree(&trial), &mut { Budget::WHOLE });
                fs::remove_dir_all(place.directory.path().join("inside").join(trial)).unwrap();
                if unpacked.is_ok() {
                    accepted = Some(length);
                    break;
                }
            }
            let length = accepted.unwrap_or(0);
            let listing = unpack(&archive(&entries[..length])[..], &mut tree, &mut { Budget::WHOLE }).unwrap();
            let here = places(&place.directory.path().join("inside").join(&name));
            let listed: BTreeSet<Place> = listing.brought.keys().filter(|place| !place.is_empty()).cloned().collect();
            prop_assert_eq!(here, listed);
            prop_assert_eq!(&Listing::parse(&listing.to_bytes()).unwrap(), &listing);
            listings.push(listing);
            trees.push(tree);
        }
        place.check(archives.len());
        let mut merged = Merged::new();
        for (number, listing) in listings.iter().enumerate() {
            merged.apply(number, listing).unwrap();
        }
        let all: BTreeSet<&Place> = listings.iter().flat_map(|listing| listing.brought.keys()).collect();
        for &each in all.iter().filter(|each| !each.is_empty()) {
            let found = look_up(&listings, each);
            match merged.0.get(each) {
                None => prop_assert_eq!(found, None, "{}", String::from_utf8_lossy(each)),
                Some(Node::Directory(_)) => prop_assert!(matches!(found, Some((true, _)))),
                Some(Node::File(_, layer, _)) => prop_assert_eq!(found, Some((false, *layer))),
            }
        }
        let mut root = place.tree("root");
        let (unseen, _) = merged.make(&mut trees, &mut root).unwrap();
        let here = places(&place.directory.path().join("inside/root"));
        let expected: BTreeSet<Place> = merged.0.keys().filter(|place| !place.is_empty()).cloned().collect();
        prop_assert_eq!(here, expected);
        let shown = read_unseen(&unseen.into_bytes(), &mut root).unwrap();
        let files = merged.0.values().filter(|node| matches!(node, Node::File(..))).count();
        prop_assert!(files == 0 || shown.values().all(|shown| shown.nlink > 0 && shown.uid == 7 || shown.uid == 0));
        place.check(archives.len() + 1);
    }

    #[test]
    fn documents_that_say_anything_are_read_or_refused_in_one_line(
        which in 0_usize..4,
        at in any::<prop::sample::Index>(),
        value in value(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        docker in any::<bool>(),
    ) {
        let place = Site::new();
        let root = place.directory.path();
        fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        let store = |mut document: Value, is_it: bool| {
            if is_it {
                change(&mut document, at, &value);
            }
            let mut bytes = document.to_string().into_bytes();
            if is_it && let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let digest = Digest::of(&bytes);
            fs::write(root.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
            (bytes.clone(), json!({
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest.to_string(),
                "size": bytes.len(),
            }))
        };
        let digest = Digest::of(b"layer").to_string();
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [digest] },
            "config": { "User": "1:2", "Env": ["A=b"], "Cmd": ["x"], "Entrypoint": ["y"], "WorkingDir": "/w",
                        "Volumes": { "/v": {} } },
        });
        let (bytes, config) = store(config, which == 0);
        let mut layer = config.clone();
        layer["digest"] = json!(digest);
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let (_, mut manifest) = store(manifest, which == 1);
        manifest["mediaType"] = json!("application/vnd.oci.image.manifest.v1+json");
        manifest["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        let (_, mut index) = store(json!({ "schemaVersion": 2, "manifests": [manifest] }), which == 2);
        index["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
        index["annotations"] = json!({ "org.opencontainers.image.ref.name": "tag" });
        let (index, _) = store(json!({ "schemaVersion": 2, "manifests": [index] }), which == 3);
        fs::write(root.join("index.json"), index).unwrap();
        fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let source = if docker {
            let mut list = json!([{ "Config": "config", "RepoTags": ["a:tag"], "Layers": ["l"] }]);
            if which != 0 {
                change(&mut list, at, &value);
            }
            let mut builder = Builder::new(Vec::new());
            for (name, bytes) in [("config", bytes), ("manifest.json", list.to_string().into_bytes())] {
                let mut header = Header::new_gnu();
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, name, &bytes[..]).unwrap();
            }
            fs::write(root.join("archive"), builder.into_inner().unwrap()).unwrap();
            Source::open(Transport::Archive, &root.join("archive")).unwrap()
        } else {
            Source::open(Transport::Directory, root).unwrap()
        };
        let found = manifest::find(&source, Some("tag")).and_then(|image| Settings::of(&image.configuration));
        if let Err(error) = found {
            prop_assert_eq!(format!("{error:#}").lines().count(), 1, "{:#}", error);
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        any::<i64>().prop_map(|number| json!(number)),
        any::<bool>().prop_map(|value| json!(value)),
        ".{0,40}".prop_map(|text| json!(text)),
        Just(json!("sha256:../../../../etc/passwd")),
        Just(json!("../../../../etc/passwd")),
        Just(json!(["a\u{0}b", "=", ""])),
        Just(json!({ "/../..": {}, "": {} })),
    ]
}

/// Puts something else at one place of a document.
fn change(document: &mut Value, at: prop::sample::Index, value: &Value) {
    fn count(document: &Value) -> usize {
        1 + match document {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    fn put(document: &mut Value, at: &mut usize, value: &Value) {
        if *at == 0 {
            *document = value.clone();
        }
        *at = at.wrapping_sub(1);
        match document {
            Value::Array(list) => list.iter_mut().for_each(|inner| put(inner, at, value)),
            Value::Object(map) => map.values_mut().for_each(|inner| put(inner, at, value)),
            _ => {}
        }
    }
    let mut at = at.index(count(document));
    put(document, &mut at, value);
}

#[test]
fn an_index_within_itself_is_not_followed_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir_all(path.join("blobs/sha256")).unwrap();
    fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut inner = json!({ "schemaVersion": 2, "manifests": [] });
    for _ in 0..8 {
        let bytes = inner.to_string();
        let digest = Digest::of(bytes.as_bytes());
        fs::write(path.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
        let entry = json!({
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest.to_string(),
            "size": bytes.len(),
        });
        inner = json!({ "schemaVersion": 2, "manifests": [entry] });
    }
    fs::write(path.join("index.json"), inner.to_string()).unwrap();
    let source = Source::open(Transport::Directory, path).unwrap();
    let error = manifest::find(&source, None).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
}

#[test]
fn a_layer_that_unpacks_to_more_than_an_image_may_be_is_refused() {
    let site = Site::new();
    let entry =
        |path: &str| Hostile { path: path.into(), kind: EntryType::Regular, link: "".into(), size: 1000 };
    let bytes = archive(&[entry("a"), entry("b"), entry("c")]);
    let mut small = Budget { bytes: 3000, entries: 10, ..Budget::WHOLE };
    let error = unpack(&bytes[..], &mut site.tree("bytes"), &mut small).unwrap_err();
    assert!(format!("{error:#}").contains("larger than"), "{error:#}");
    let mut few = Budget { bytes: 1 << 20, entries: 2, ..Budget::WHOLE };
    let error = unpack(&bytes[..], &mut site.tree("entries"), &mut few).unwrap_err();
    assert!(format!("{error:#}").contains("entries"), "{error:#}");
    // Layers take from one budget.
    let mut budget = Budget { bytes: 10_000, entries: 10, ..Budget::WHOLE };
    unpack(&bytes[..], &mut site.tree("one"), &mut budget).unwrap();
    assert_eq!((budget.bytes, budget.entries), (10_000 - bytes.len() as u64, 7));
    assert!(unpack(&bytes[..], &mut site.tree("other"), &mut budget).is_err());
}

#[test]
fn directories_that_entries_imply_are_taken_from_the_budget() {
    let site = Site::new();
    let entry =
        |path: &str| Hostile { path: path.into(), kind: EntryType::Regular, link: "".into(), size: 0 };
    let bytes = archive(&[entry("a/b/c/d"), entry("a/b/e/f"), entry("g/.wh.h"), entry("i/.wh..wh..opq")]);
    let mut budget = Budget { entries: 8, names: 60, ..Budget::WHOLE };
    unpack(&bytes[..], &mut site.tree("all"), &mut budget).unwrap();
    // Four entries, and a, a/b, a/b/c, a/b/e.
    assert_eq!((budget.entries, budget.names), (0, 11));
    for (tree, entries, names, what) in [("few", 7, 60, "entries"), ("short", 8, 48, "names")] {
        let mut budget = Budget { entries, names, ..Budget::WHOLE };
        let error = unpack(&bytes[..], &mut site.tree(tree), &mut budget).unwrap_err();
        assert!(format!("{error:#}").contains(what), "{error:#}");
    }
}

#[test]
fn a_link_to_itself_changes_nothing_and_to_nothing_is_refused() {
    let site = Site::new();
    let link = Hostile { path: "./a".into(), kind: EntryType::Link, link: "/a".into(), size: 0 };
    let file = Hostile { path: "a".into(), kind: EntryType::Regular, link: "".into(), size: 3 };
    let mut tree = site.tree("twice");
    let listing = unpack(&archive(&[file, link.clone()])[..], &mut tree, &mut { Budget::WHOLE }).unwrap();
    assert_eq!((listing.brought.len(), tree.status(b"a").unwrap().st_size), (1, 3));
    let error = unpack(&archive(&[link])[..], &mut site.tree("alone"), &mut { Budget::WHOLE }).unwrap_err();
    assert!(format!("{error:#}").contains("no file that came before"), "{error:#}");
}
