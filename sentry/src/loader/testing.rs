//! Files of the host as open files, for tests.

use std::any::Any;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use usk_abi::Errno;

use crate::Sink;
use crate::vfs::{FileOps, Mapping, OpenFile};

struct HostFile {
    file: Arc<OwnedFd>,
    reader: File,
}

impl FileOps for HostFile {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        let mut buffer = vec![0; destination.remaining().min(1 << 16)];
        let got = self.reader.read_at(&mut buffer, offset).map_err(|_| Errno::EIO)?;
        destination.put(&buffer[..got])
    }

    fn mapping(&self, _file: &OpenFile, _shared: bool) -> Result<Mapping, Errno> {
        Ok(Mapping::Host(self.file.clone()))
    }

    fn sync(&self, _file: &OpenFile, _data_only: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open file with the given access mode (`O_*`).
pub(crate) fn open_host(file: File, flags: u32) -> Arc<OpenFile> {
    let reader = file.try_clone().expect("a descriptor");
    OpenFile::anonymous(Arc::new(HostFile { file: Arc::new(file.into()), reader }), flags, "host file")
}

/// A file of the host, open for reading.
pub(crate) fn open_path(path: &str) -> Option<Arc<OpenFile>> {
    Some(open_host(File::open(path).ok()?, 0))
}

/// A new file with the given contents, open for reading.
pub(crate) fn open_bytes(bytes: &[u8]) -> Arc<OpenFile> {
    let file = File::from(usk_platform::host::create_memfd(c"test", bytes.len() as u64).expect("a memfd"));
    file.write_all_at(bytes, 0).expect("room");
    open_host(file, 0)
}

/// A well-formed executable: two segments, the second with memory beyond its file part.
pub(crate) fn small_elf() -> Vec<u8> {
    use usk_abi::elf::{ElfHeader, PF_R, PF_W, PF_X, PT_LOAD, ProgramHeader};
    use zerocopy::IntoBytes;
    let header = ElfHeader::of_executable(0x40_0100, 2);
    let text = ProgramHeader {
        p_type: PT_LOAD,
        p_flags: PF_R | PF_X,
        p_offset: 0,
        p_vaddr: 0x40_0000,
        p_paddr: 0,
        p_filesz: 0x200,
        p_memsz: 0x200,
        p_align: 0x1000,
    };
    let data = ProgramHeader {
        p_type: PT_LOAD,
        p_flags: PF_R | PF_W,
        p_offset: 0x1100,
        p_vaddr: 0x40_2100,
        p_paddr: 0,
        p_filesz: 0x80,
        p_memsz: 0x2000,
        p_align: 0x1000,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(data.as_bytes());
    bytes.resize(0x3000, 0xcc);
    bytes
}
