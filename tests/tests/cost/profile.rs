//! Reads what callgrind writes (its format is in valgrind's manual, "Callgrind Format
//! Specification").

use std::collections::{BTreeMap, HashMap};

/// The allocator's functions of the C library that give memory.
const LIBC: [&str; 8] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "aligned_alloc",
    "memalign",
    "posix_memalign",
    "valloc",
];

/// Instructions, by what executed them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    /// All instructions.
    pub(crate) total: u64,
    /// Calls that allocate memory, from outside of the allocator.
    pub(crate) allocations: u64,
    /// By function: its own instructions, with those of inlined functions.
    pub(crate) own: HashMap<String, u64>,
    /// By function: with those of all callees.
    pub(crate) inclusive: HashMap<String, u64>,
    /// By source file, where the instruction was written, inlined or not.
    pub(crate) files: HashMap<String, u64>,
    /// By caller and callee: how often.
    pub(crate) calls: BTreeMap<(String, String), u64>,
}

impl Profile {
    /// Adds one dump.
    pub(crate) fn add(&mut self, text: &str) {
        let mut files = Names::default();
        let mut functions = Names::default();
        let (mut file, mut function, mut callee) = (String::new(), String::new(), String::new());
        let mut call = None;
        for line in text.lines() {
            if let Some((key, value)) = line
                .split_once('=')
                .filter(|(key, _)| key.chars().all(char::is_alphabetic))
            {
                match key {
                    "fl" | "fi" | "fe" => file = files.resolve(value),
                    "cfi" | "cfl" => drop(files.resolve(value)),
                    "fn" => function = readable(&functions.resolve(value)),
                    "cfn" => callee = readable(&functions.resolve(value)),
                    "calls" => {
                        call = value
                            .split(' ')
                            .next()
                            .and_then(|count| count.parse::<u64>().ok());
                    }
                    _ => {}
                }
                continue;
            }
            let Some(cost) = cost_of(line) else { continue };
            if let Some(count) = call.take() {
                self.called(&function, &callee, count, cost);
            } else {
                self.total += cost;
                *self.own.entry(function.clone()).or_default() += cost;
                *self.inclusive.entry(function.clone()).or_default() += cost;
                *self.files.entry(file.clone()).or_default() += cost;
            }
        }
    }

    /// Adds what another thread did.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.allocations += other.allocations;
        for (mine, theirs) in [
            (&mut self.own, &other.own),
            (&mut self.inclusive, &other.inclusive),
            (&mut self.files, &other.files),
        ] {
            for (name, count) in theirs {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
        for (edge, count) in &other.calls {
            *self.calls.entry(edge.clone()).or_default() += count;
        }
    }

    /// Returns the number of calls of a function by others.
    pub(crate) fn calls_of(&self, function: &str) -> u64 {
        self.calls
            .iter()
            .filter(|((_, callee), _)| callee == function)
            .map(|(_, count)| count)
            .sum()
    }

    /// Returns the callers of the allocator and the number of their calls.
    pub(crate) fn allocators(&self) -> HashMap<String, u64> {
        let mut callers = HashMap::new();
        for ((caller, callee), count) in &self.calls {
            if gives_memory(callee) && !is_allocator(caller) {
                *callers.entry(caller.clone()).or_default() += count;
            }
        }
        callers
    }

    fn called(&mut self, caller: &str, callee: &str, count: u64, cost: u64) {
        if caller != callee {
            *self.inclusive.entry(caller.to_owned()).or_default() += cost;
        }
        if gives_memory(callee) && !is_allocator(caller) {
            self.allocations += count;
        }
        *self
            .calls
            .entry((caller.to_owned(), callee.to_owned()))
            .or_default() += count;
    }
}

/// Returns whether a function allocates: of the C library's allocator, or of mimalloc.
fn gives_memory(function: &str) -> bool {
    LIBC.contains(&function) || (function.starts_with("mi_") && function.contains("alloc"))
}

/// Returns whether a function is part of the allocator, so that its calls are not allocations of
/// their own.
fn is_allocator(function: &str) -> bool {
    gives_memory(function)
        || function.starts_with("mi_")
        || function.starts_with("_mi_")
        || function.starts_with("_int_")
}

/// The cost of a line like `+3 17` or `* 4`.
fn cost_of(line: &str) -> Option<u64> {
    let (position, cost) = line.split_once(' ')?;
    position
        .starts_with([
            '+', '-', '*', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
        ])
        .then_some(())?;
    cost.trim().parse().ok()
}

/// Names are written once, as `(7) name`, and then as `(7)`.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    fn resolve(&mut self, value: &str) -> String {
        let Some((number, name)) = value.split_once(')') else {
            return value.to_owned();
        };
        let name = name.trim_start();
        if name.is_empty() {
            return self.0.get(number).cloned().unwrap_or_default();
        }
        self.0.insert(number.to_owned(), name.to_owned());
        name.to_owned()
    }
}

/// A name without the compiler's hash and callgrind's depth of recursion.
fn readable(name: &str) -> String {
    let name = name
        .split('\'')
        .next()
        .filter(|_| depth_of_recursion(name))
        .unwrap_or(name);
    match name.rsplit_once("::h") {
        Some((path, hash))
            if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
        {
            path.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// `name'2`, but not a lifetime somewhere within.
fn depth_of_recursion(name: &str) -> bool {
    name.rsplit_once('\'').is_some_and(|(before, depth)| {
        !before.contains('\'') && !depth.is_empty() && depth.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "\
version: 1
events: Ir

fl=(1) /src/a.rs
fn=(1) a::run::h0123456789abcdef
10 5
fi=(2) /src/inlined.rs
+3 7
fe=(1)
cfn=(2) mi_malloc_aligned
calls=2 0
12 40
cfi=(3) malloc.c
cfn=(3) malloc
calls=1 0
* 20

fn=(2)
0 30
cfn=(4) _mi_malloc_generic
calls=2 0
-1 10

fn=(5) realloc
1 4
cfn=(3)
calls=9 0
1 9

totals: 46
";

    fn profile() -> Profile {
        let mut profile = Profile::default();
        profile.add(DUMP);
        profile
    }

    #[test]
    fn instructions_are_of_the_function_and_of_the_file_they_were_written_in() {
        let profile = profile();
        assert_eq!(profile.total, 46);
        assert_eq!(profile.own["a::run"], 12);
        assert_eq!(profile.inclusive["a::run"], 72);
        assert_eq!(profile.files["/src/a.rs"], 5 + 30 + 4);
        assert_eq!(profile.files["/src/inlined.rs"], 7);
        assert_eq!(profile.calls_of("mi_malloc_aligned"), 2);
    }

    #[test]
    fn an_allocation_is_a_call_from_outside_of_the_allocator() {
        assert_eq!(profile().allocations, 3);
        assert_eq!(
            profile().allocators(),
            HashMap::from([("a::run".to_owned(), 3)])
        );
    }

    #[test]
    fn lifetimes_are_no_depth_of_recursion() {
        assert_eq!(readable("a::visit'2"), "a::visit");
        assert_eq!(
            readable("<a::B<'_> as c::D<'2>>::e"),
            "<a::B<'_> as c::D<'2>>::e"
        );
    }
}
