//! From the place where images are to one image: its configuration, and where its layers are.
//!
//! OCI image specification 1.1: image-layout.md, image-index.md, manifest.md, config.md. An archive of `docker save` has a
//! `manifest.json` of Docker's own instead of an index, or beside one.

use std::io;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, OciLayout, Os};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::digest::{Digest, Verifier};
use super::limits::{MAX_INDEX_DEPTH, MAX_LAYERS, MAX_MANIFESTS};
use super::listing::shown;
use super::source::Source;

/// What names an image in an index: a tag.
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The same, where Docker and containerd write it: with the repository.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// One image.
#[derive(Debug)]
pub(super) struct Image {
    /// What it says about how to run it.
    pub(super) configuration: ImageConfiguration,
    /// From the bottom to the top.
    pub(super) layers: Vec<Layer>,
}

/// One layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// What it is when it is not compressed: its name in the cache.
    pub(super) content: Digest,
    /// What is to be opened in the source.
    pub(super) file: String,
    /// What that is, as far as somebody says so.
    pub(super) stored: Option<Digest>,
}

/// Docker's own list of images in an archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Finds the image that a tag names; without a tag the only one.
pub(super) fn find(source: &Source, tag: Option<&str>) -> Result<Image> {
    if matches!(source, Source::Archive(..)) {
        match source.document("manifest.json") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            bytes => return of_docker(source, &bytes.context("manifest.json")?, tag),
        }
    }
    of_layout(source, tag)
}

fn of_docker(source: &Source, bytes: &[u8], tag: Option<&str>) -> Result<Image> {
    let images: Vec<DockerImage> = read(bytes).context("manifest.json")?;
    let names = |image: &DockerImage| image.repo_tags.clone().unwrap_or_default();
    let image = match tag {
        None => only(&images, |image| names(image).join(" "))?,
        Some(tag) => {
            let is_named = |image: &&DockerImage| names(image).iter().any(|name| is_name(name, tag));
            images.iter().find(is_named).with_context(|| {
                let all: Vec<String> = images.iter().flat_map(names).collect();
                format!("it has no image {tag}; there {}", listed(&all))
            })?
        }
    };
    let name = shown(image.config.as_bytes());
    let bytes = source.document(&image.config).map_err(missing).with_context(|| format!("file {name}"))?;
    // Its name is its digest, in each form that Docker has had.
    let stem = image.config.trim_end_matches(".json").rsplit('/').next().unwrap_or_default();
    if let Ok(digest) = Digest::parse(&format!("sha256:{stem}")) {
        Verifier::new(&bytes[..], digest).finish().with_context(|| format!("file {name}"))?;
    }
    let configuration = configuration(&bytes).with_context(|| format!("file {name}"))?;
    let file = |(content, file): (Digest, &String)| Layer { content, file: file.clone(), stored: None };
    let contents = contents(&configuration, image.layers.len())?;
    Ok(Image { configuration, layers: contents.into_iter().zip(&image.layers).map(file).collect() })
}

fn of_layout(source: &Source, tag: Option<&str>) -> Result<Image> {
    let bytes = match source.document("oci-layout") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "there is neither oci-layout nor manifest.json: it is no image layout and no archive of docker save"
            )
        }
        result => result.context("oci-layout")?,
    };
    let layout: OciLayout = read(&bytes).context("oci-layout")?;
    if !layout.image_layout_version().starts_with("1.") {
        bail!("its layout has the version {:.20?}; 1.x is known", layout.image_layout_version());
    }
    let bytes = source.document("index.json").map_err(missing).context("index.json")?;
    let index: ImageIndex = read(&bytes).context("index.json")?;
    let named: Vec<&Descriptor> = match tag {
        None => index.manifests().iter().collect(),
        Some(tag) => {
            index.manifests().iter().filter(|entry| names(entry).any(|name| is_name(name, tag))).collect()
        }
    };
    if named.is_empty() {
        let all: Vec<String> = index.manifests().iter().flat_map(names).map(str::to_owned).collect();
        return Err(match tag {
            Some(tag) => anyhow!("it has no image {tag}; there {}", listed(&all)),
            None => anyhow!("it has no image"),
        });
    }
    let mut manifests = Vec::new();
    let mut seen = 0;
    for entry in named {
        collect(source, entry, 0, &mut seen, &mut manifests)?;
    }
    if manifests.is_empty() {
        bail!("it has no image for linux/amd64");
    }
    // The same manifest may be listed under several names.
    manifests.sort_by_key(|(_, manifest)| *manifest);
    manifests.dedup_by_key(|(_, manifest)| *manifest);
    let (_, digest) = only(&manifests, |(name, digest)| name.clone().unwrap_or_else(|| digest.to_string()))?;
    let bytes = blob(source, digest, None)?;
    let manifest: ImageManifest = read(&bytes).with_context(|| format!("manifest {digest}"))?;
    let config = Digest::parse(manifest.config().digest().as_ref())?;
    let bytes = blob(source, &config, Some(manifest.config().size()))?;
    let configuration = configuration(&bytes).with_context(|| format!("configuration {config}"))?;
    let contents = contents(&configuration, manifest.layers().len())?;
    let mut layers = Vec::new();
    for (content, layer) in contents.into_iter().zip(manifest.layers()) {
        let stored = Digest::parse(layer.digest().as_ref())?;
        layers.push(Layer { content, file: blob_name(&stored), stored: Some(stored) });
    }
    Ok(Image { configuration, layers })
}

fn names(entry: &Descriptor) -> impl Iterator<Item = &str> {
    let annotations = entry.annotations().as_ref();
    let name = move |key| annotations.and_then(|all| all.get(key)).map(String::as_str);
    [REFERENCE_NAME, IMAGE_NAME].into_iter().filter_map(name)
}

/// Whether somebody who writes `wanted` means this name: all of it, without its registry, without its repository, or
/// without the tag that everybody means.
fn is_name(name: &str, wanted: &str) -> bool {
    let ends_with = |name: &str| {
        name.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with(['/', ':']))
    };
    ends_with(name) || name.strip_suffix(":latest").is_some_and(ends_with)
}

/// Goes down nested indexes to the manifests that fit this machine.
fn collect(
    source: &Source,
    entry: &Descriptor,
    depth: usize,
    seen: &mut usize,
    found: &mut Vec<(Option<String>, Digest)>,
) -> Result<()> {
    *seen += 1;
    if *seen > MAX_MANIFESTS {
        bail!("it lists more than {MAX_MANIFESTS} manifests");
    }
    if let Some(platform) = entry.platform()
        && (*platform.os() != Os::Linux || *platform.architecture() != Arch::Amd64)
    {
        return Ok(());
    }
    let digest = Digest::parse(entry.digest().as_ref())?;
    let kind = entry.media_type().to_string();
    if kind.ends_with("image.manifest.v1+json") || kind.ends_with("distribution.manifest.v2+json") {
        // Where no index tells the platform, the configuration does, later.
        found.push((names(entry).next().map(str::to_owned), digest));
        return Ok(());
    }
    if !kind.ends_with("image.index.v1+json") && !kind.ends_with("manifest.list.v2+json") {
        // Something else that is kept with images.
        return Ok(());
    }
    if depth >= MAX_INDEX_DEPTH {
        bail!("its indexes are nested more than {MAX_INDEX_DEPTH} deep");
    }
    let bytes = blob(source, &digest, Some(entry.size()))?;
    let index: ImageIndex = read(&bytes).with_context(|| format!("index {digest}"))?;
    let before = found.len();
    for entry in index.manifests() {
        collect(source, entry, depth + 1, seen, found)?;
        // The specification: the first that fits.
        if found.len() > before {
            break;
        }
    }
    Ok(())
}

/// Reads a document that is named by its digest.
fn blob(source: &Source, digest: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
    let name = blob_name(digest);
    let bytes = source.document(&name).map_err(missing).with_context(|| format!("file {name}"))?;
    if size.is_some_and(|size| size != bytes.len() as u64) {
        bail!(
            "file {name}: it has {} bytes and should have {}: it is damaged",
            bytes.len(),
            size.unwrap_or(0)
        );
    }
    Verifier::new(&bytes[..], *digest).finish().with_context(|| format!("file {name}"))?;
    Ok(bytes)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn configuration(bytes: &[u8]) -> Result<ImageConfiguration> {
    let configuration: ImageConfiguration = read(bytes)?;
    if *configuration.os() != Os::Linux || *configuration.architecture() != Arch::Amd64 {
        bail!(
            "the image is for {}/{}, not for linux/amd64",
            configuration.os(),
            configuration.architecture()
        );
    }
    Ok(configuration)
}

/// What the layers are, of which there must be so many.
fn contents(configuration: &ImageConfiguration, count: usize) -> Result<Vec<Digest>> {
    if count > MAX_LAYERS {
        bail!("it has {count} layers; {MAX_LAYERS} are possible");
    }
    let contents = configuration.rootfs().diff_ids();
    if contents.len() != count {
        bail!("its manifest has {count} layers and its configuration {}", contents.len());
    }
    contents.iter().map(|content| Digest::parse(content)).collect()
}

/// The only one of a list.
fn only<T>(list: &[T], name: impl Fn(&T) -> String) -> Result<&T> {
    match list {
        [] => bail!("it has no image"),
        [one] => Ok(one),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            bail!("it has several images: add a colon and one of their names; there {}", listed(&names))
        }
    }
}

/// Some names, for a message.
fn listed(names: &[String]) -> String {
    const LISTED: usize = 8;
    if names.is_empty() {
        return "are no names".into();
    }
    let first: Vec<String> = names.iter().take(LISTED).map(|name| shown(name.as_bytes())).collect();
    let more = if names.len() > LISTED { ", …" } else { "" };
    format!("is {}{more}", first.join(", "))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // What is wrong may be quoted from the document.
    serde_json::from_slice(bytes)
        .map_err(|error| anyhow!("it is not what it should be: {}", shown(error.to_string().as_bytes())))
}

fn missing(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::NotFound { anyhow!("it is missing") } else { error.into() }
}
