//! Claims about the machine, by rule of bpmn.md, and its promises over generated models.

mod dsl;
mod elements;
mod jobs;
mod messages;
mod oracle;
mod promises;
mod run;
mod variables;
