//! Calls of built-in functions.
//!
//! Duty: from a name before `(` to a call with an argument for each parameter. Guarantee: a call that parses names a
//! built-in and has a legal number of arguments; what depends on chance or is not built is refused by name. Left to
//! others: everything else of the grammar (`parse`).

use super::ast::{Argument, Node};
use super::builtins::{self, ALIASES, Builtin, NONDETERMINISTIC, NOT_BUILT};
use super::lex::{RESERVED, continues_name, normal_name, starts_name};
use super::parse::Parser;
use super::{Error, ErrorKind};

impl Parser<'_> {
    /// The call that stands here; `None`: no word with `(` behind it.
    pub(super) fn call(&mut self) -> Result<Option<Node>, Error> {
        let at = self.lex.at;
        let builtin = self.longest(builtins::all().map(|b| b.name));
        let chance = self.longest(NONDETERMINISTIC.iter().copied());
        let later = self.longest(NOT_BUILT.iter().copied());
        let (length, name) = [builtin, chance, later].into_iter().flatten().max().unwrap_or((0, ""));
        if NONDETERMINISTIC.contains(&name) {
            let message = format!("`{name}` depends on chance; pass the value in");
            return Err(self.lex.error_of(ErrorKind::Nondeterministic, at, message));
        }
        if NOT_BUILT.contains(&name) {
            return Err(self.lex.error_of(ErrorKind::NotBuilt, at, format!("the function `{name}` is not built yet")));
        }
        if let Some(builtin) = builtins::find(name) {
            self.lex.at += length;
            self.expect("(")?;
            return self.arguments(builtin, at).map(Some);
        }
        let Some(word) = self.lex.word().filter(|word| !RESERVED.contains(&word.as_str())) else {
            return Ok(None);
        };
        if self.opens_after(word.chars().count()) {
            return Err(self.lex.error_of(ErrorKind::UnknownFunction, at, format!("unknown function `{word}`")));
        }
        Ok(None)
    }

    /// The longest of `names` that stands here with `(` behind it.
    fn longest<'s>(&mut self, names: impl Iterator<Item = &'s str>) -> Option<(usize, &'s str)> {
        let first = self.lex.peek()?;
        let mut best = None;
        for name in names.filter(|name| name.starts_with(first)) {
            let spelled: Vec<char> = name.chars().collect();
            if let Some(length) = self.lex.matches(&spelled).filter(|length| self.opens_after(*length)) {
                best = best.max(Some((length, name)));
            }
        }
        best
    }

    fn arguments(&mut self, builtin: &'static Builtin, at: usize) -> Result<Node, Error> {
        let mut arguments: Vec<Argument> = Vec::new();
        let mut named: Option<bool> = None;
        let mut more = !self.lex.eat(")");
        while more {
            let place = self.lex.at;
            let name = self.argument_name();
            if *named.get_or_insert(name.is_some()) != name.is_some() {
                return Err(self.lex.error_at(place, "arguments are all named or all by position"));
            }
            let index = match name {
                Some(name) => self.parameter(builtin, &name, place)?,
                None => arguments.len(),
            };
            let argument = self.argument(builtin, index)?;
            if index >= arguments.len() {
                arguments.resize(index + 1, Argument::Absent);
            }
            if arguments[index] != Argument::Absent {
                return Err(self.lex.error_at(place, format!("`{}` is given twice", builtin.parameters[index])));
            }
            arguments[index] = argument;
            more = self.lex.eat(",");
            if !more && !self.lex.eat(")") {
                return Err(self.lex.expected("`,` or `)`"));
            }
        }
        let missing = (0..builtin.required).find(|i| arguments.get(*i).is_none_or(|a| *a == Argument::Absent));
        let surplus = !builtin.rest && arguments.len() > builtin.parameters.len();
        if missing.is_some() || surplus {
            let message = format!("`{}` is called as {}", builtin.name, builtin.signature());
            return Err(self.lex.error_at(at, message));
        }
        Ok(Node::Call(builtin, arguments))
    }

    /// Takes `name:` before an argument.
    fn argument_name(&mut self) -> Option<String> {
        self.lex.skip();
        let start = self.lex.at;
        if self.lex.peek().is_some_and(starts_name) {
            while self.lex.peek().is_some_and(|c| continues_name(c) || c.is_whitespace()) {
                self.lex.at += 1;
            }
            if self.lex.peek() == Some(':') {
                let name = normal_name(&self.lex.since(start));
                self.lex.at += 1;
                return Some(name);
            }
            self.lex.at = start;
        }
        None
    }

    fn parameter(&self, builtin: &Builtin, name: &str, place: usize) -> Result<usize, Error> {
        let alias = ALIASES.iter().find(|(function, other, _)| *function == builtin.name && *other == name);
        let wanted = alias.map_or(name, |(_, _, parameter)| parameter);
        builtin.parameters.iter().position(|p| *p == wanted).ok_or_else(|| {
            let message =
                format!("`{}` has no parameter `{name}`; it is called as {}", builtin.name, builtin.signature());
            self.lex.error_at(place, message)
        })
    }

    fn argument(&mut self, builtin: &Builtin, index: usize) -> Result<Argument, Error> {
        self.lex.skip();
        let takes_function = builtin.function == Some(index);
        if !takes_function || self.lex.word().as_deref() != Some("function") {
            return self.expr().map(Argument::Value);
        }
        self.lex.eat_word("function");
        self.expect("(")?;
        let (locals, scoped) = (self.locals.len(), self.lex.scoped.len());
        let mut parameters: Vec<String> = Vec::new();
        let mut more = !self.lex.eat(")");
        while more {
            self.lex.skip();
            match self.lex.name(false)? {
                Some(name) => parameters.push(name),
                None => return Err(self.lex.expected("the name of a parameter")),
            }
            more = self.lex.eat(",");
            if !more {
                self.expect(")")?;
            }
        }
        for parameter in &parameters {
            self.lex.declare(parameter);
            self.locals.push(parameter.clone());
        }
        let body = Box::new(self.expr()?);
        self.locals.truncate(locals);
        self.lex.scoped.truncate(scoped);
        Ok(Argument::Function(parameters, body))
    }
}
