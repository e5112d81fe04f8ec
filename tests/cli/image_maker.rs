//! Images made by hand, byte by byte: what no tool writes as well.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use crate::caller::Caller;
use crate::guest::directory_of;

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Plain,
    Gzip,
    Zstd,
}

/// What an entry of a layer is.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Directory,
    File(Vec<u8>),
    Symlink(&'static str),
    HardLink(&'static str),
    Device,
}

/// A layer that is being put together.
pub(crate) struct LayerMaker(Builder<Vec<u8>>);

impl LayerMaker {
    pub(crate) fn new() -> LayerMaker {
        LayerMaker(Builder::new(Vec::new()))
    }

    /// Adds an entry with exactly this name, whatever it is, and these permissions and owner.
    pub(crate) fn add(mut self, name: &str, item: Item, mode: u32, owner: (u64, u64)) -> LayerMaker {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        header.as_gnu_mut().expect("such a header").name[..name.len()].copy_from_slice(name.as_bytes());
        let mut content = Vec::new();
        match item {
            Item::Directory => header.set_entry_type(EntryType::Directory),
            Item::File(bytes) => {
                header.set_size(bytes.len() as u64);
                content = bytes;
            }
            Item::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_link_name_literal(target).expect("a short target");
            }
            Item::HardLink(target) => {
                header.set_entry_type(EntryType::Link);
                header.set_link_name_literal(target).expect("a short target");
            }
            Item::Device => header.set_entry_type(EntryType::Char),
        }
        header.set_cksum();
        self.0.append(&header, &content[..]).expect("a vector takes everything");
        self
    }

    /// Says of the next entry which capabilities it has, as `security.capability` holds them.
    pub(crate) fn with_capabilities(mut self, value: &[u8]) -> LayerMaker {
        let record = ("SCHILY.xattr.security.capability", value);
        self.0.append_pax_extensions([record]).expect("a vector takes everything");
        self
    }

    pub(crate) fn directory(self, name: &str) -> LayerMaker {
        self.add(name, Item::Directory, 0o755, (0, 0))
    }

    pub(crate) fn file(self, name: &str, content: &str) -> LayerMaker {
        self.add(name, Item::File(content.into()), 0o644, (0, 0))
    }

    pub(crate) fn symlink(self, name: &str, target: &'static str) -> LayerMaker {
        self.add(name, Item::Symlink(target), 0o777, (0, 0))
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("a vector takes everything")
    }
}

/// Busybox, some of its names, and users.
pub(crate) fn busybox() -> Vec<u8> {
    let program =
        fs::read("/bin/busybox").expect("busybox-static is not installed: run tests/install-packages");
    let mut layer = LayerMaker::new().directory("bin/").directory("etc/").directory("tmp/");
    layer = layer.add("bin/busybox", Item::File(program), 0o755, (0, 0));
    for name in ["sh", "cat", "echo", "ls", "id", "env", "stat", "find", "sleep", "touch", "pwd", "wc"] {
        layer = layer.symlink(&format!("bin/{name}"), "busybox");
    }
    let users = "root:x:0:0::/root:/bin/sh\napp:x:1234:5678::/home/app:/bin/sh\n";
    layer.file("etc/passwd", users).file("etc/group", "friends:x:99:app\n").finish()
}

/// An image: layers, and what its configuration says about how to run it.
pub(crate) struct ImageMaker {
    pub(crate) layers: Vec<(Vec<u8>, Stored)>,
    pub(crate) config: Value,
    pub(crate) architecture: &'static str,
}

impl ImageMaker {
    pub(crate) fn new(config: Value) -> ImageMaker {
        ImageMaker { layers: Vec::new(), config, architecture: "amd64" }
    }

    pub(crate) fn layer(mut self, bytes: Vec<u8>, stored: Stored) -> ImageMaker {
        self.layers.push((bytes, stored));
        self
    }

    fn configuration(&self) -> Value {
        let contents: Vec<String> = self.layers.iter().map(|(bytes, _)| digest(bytes)).collect();
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": contents },
        })
    }

    /// Adds the image's parts to a layout, and returns what an index says about it.
    pub(crate) fn store(&self, layout: &Path) -> Value {
        let config = self.configuration().to_string();
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|(bytes, stored)| {
                let (suffix, bytes) = match stored {
                    Stored::Plain => ("", bytes.clone()),
                    Stored::Gzip => ("+gzip", gzip(bytes)),
                    Stored::Zstd => ("+zstd", zstd(bytes)),
                };
                describe(layout, &format!("application/vnd.oci.image.layer.v1.tar{suffix}"), &bytes)
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": describe(layout, "application/vnd.oci.image.config.v1+json", config.as_bytes()),
            "layers": layers,
        });
        let manifest = manifest.to_string();
        describe(layout, "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes())
    }

    /// Writes a layout with this image alone.
    pub(crate) fn layout(&self, caller: Caller) -> TempDir {
        let directory = directory_of(caller);
        let mut entry = self.store(directory.path());
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        write_index(directory.path(), &[entry]);
        directory
    }

    /// Writes what `docker save` wrote before it knew of layouts.
    pub(crate) fn docker_archive(&self, caller: Caller) -> (TempDir, PathBuf) {
        let directory = directory_of(caller);
        let config = self.configuration().to_string();
        let name = format!("{}.json", hex(config.as_bytes()));
        let mut archive = LayerMaker::new();
        let mut names = Vec::new();
        for (number, (bytes, _)) in self.layers.iter().enumerate() {
            let name = format!("{number}/layer.tar");
            archive = archive.add(&name, Item::File(bytes.clone()), 0o644, (0, 0));
            names.push(name);
        }
        archive = archive.file(&name, &config);
        let manifest = json!([{ "Config": name, "RepoTags": ["example/box:1"], "Layers": names }]);
        let bytes = archive.file("manifest.json", &manifest.to_string()).finish();
        let file = directory.path().join("box.tar");
        fs::write(&file, bytes).expect("an archive");
        (directory, file)
    }
}

/// Writes a layout's index and version.
pub(crate) fn write_index(layout: &Path, entries: &[Value]) {
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    fs::write(layout.join("index.json"), index.to_string()).expect("an index");
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a version");
}

/// Stores a blob and returns its descriptor.
pub(crate) fn describe(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a directory");
    fs::write(blobs.join(hex(bytes)), bytes).expect("a blob");
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// `sha256:…`
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}
