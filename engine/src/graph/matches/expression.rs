//! What an expression is made of: the names that it takes from a series, and how deep its loops lie in each other.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{ComprehensionExpr, EntryExpr, Expr},
};

/// The names in an expression that no macro of its own binds (`n` of `["A", "B"].exists(n, ...)` is bound).
pub(super) fn free_names(expression: &IdedExpr) -> BTreeSet<&str> {
    let mut free = BTreeSet::new();
    gather(expression, &mut Vec::new(), &mut free);
    free
}

fn gather<'e>(expression: &'e IdedExpr, bound: &mut Vec<&'e str>, free: &mut BTreeSet<&'e str>) {
    match &expression.expr {
        // The parser's own names begin with `@`, which no name in a text can.
        Expr::Ident(name) if !name.starts_with('@') && !bound.contains(&name.as_str()) => {
            free.insert(name);
        }
        Expr::Comprehension(over) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } = over.as_ref();
            [iter_range, accu_init].into_iter().for_each(|part| gather(part, bound, free));
            let outside = bound.len();
            bound.extend([over.iter_var.as_str(), over.accu_var.as_str()]);
            bound.extend(over.iter_var2.as_deref());
            [loop_cond, loop_step, result].into_iter().for_each(|part| gather(part, bound, free));
            bound.truncate(outside);
        }
        other => parts(other).into_iter().for_each(|part| gather(part, bound, free)),
    }
}

/// How many loops (`all`, `exists`, `exists_one`, `map`, `filter`) lie in each other; one over the result of another
/// counts as lying in it, since its list may have been made as large.
pub(super) fn loops(expression: &IdedExpr) -> usize {
    let within = parts(&expression.expr).into_iter().map(loops).max().unwrap_or(0);
    within + usize::from(matches!(expression.expr, Expr::Comprehension(_)))
}

/// What an expression directly consists of.
fn parts(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(over) => {
            vec![&over.iter_range, &over.accu_init, &over.loop_cond, &over.loop_step, &over.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|one| entry(&one.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(made) => made.entries.iter().flat_map(|one| entry(&one.expr)).collect(),
    }
}

fn entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
