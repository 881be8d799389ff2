//! How much memory the machine has, or the control group that we run in.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the bytes of memory that this process may use, where the system tells: those of the machine,
/// or the limit of a control group around us (cgroups v2 and v1), if that is less.
pub(crate) fn memory() -> Option<u64> {
    memory_below(Path::new("/"))
}

fn memory_below(root: &Path) -> Option<u64> {
    let machine = meminfo(&root.join("proc/meminfo"));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().filter_map(|line| limit_of(root, line));
    machine.into_iter().chain(limits).min()
}

fn meminfo(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let figure = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = figure.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns the least limit of a group, given as in `/proc/self/cgroup`, and of those around it. In a
/// container the group may be shown as the host sees it; then only the outermost directory is ours.
fn limit_of(root: &Path, line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let mount = root.join(mount);
    let group = Path::new(path.trim_start_matches('/'));
    let groups = group.ancestors().map(|group| mount.join(group));
    groups.filter_map(|group| limit_in(group.join(file))).min()
}

/// Reads a limit; `max` is none.
fn limit_in(path: PathBuf) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory with these files.
    struct Root(PathBuf);

    impl Root {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir();
            let root = root.join(format!("heartwheel-{name}-{}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().expect("it is in the root")).expect("writable");
                fs::write(path, text).expect("writable");
            }
            Self(root)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:   8388608 kB\nMemFree: 1 kB\n");
    const ALL: u64 = 8 << 30;

    #[test]
    fn without_a_group_it_is_that_of_the_machine() {
        assert_eq!(memory_below(&Root::with("bare", &[MEMINFO]).0), Some(ALL));
        assert_eq!(memory_below(&Root::with("none", &[]).0), None);
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_counts() {
        let v2 = [
            MEMINFO,
            ("proc/self/cgroup", "0::/web.slice/wheel.service\n"),
            ("sys/fs/cgroup/web.slice/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/web.slice/wheel.service/memory.max", "max\n"),
        ];
        assert_eq!(memory_below(&Root::with("v2", &v2).0), Some(1 << 30));
        let v1 = [
            MEMINFO,
            (
                "proc/self/cgroup",
                "4:cpu,cpuacct:/x\n3:memory:/docker/abc\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ];
        assert_eq!(memory_below(&Root::with("v1", &v1).0), Some(512 << 20));
        let unlimited = [
            MEMINFO,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "9223372036854771712\n"),
        ];
        assert_eq!(memory_below(&Root::with("much", &unlimited).0), Some(ALL));
    }
}
