//! `system.promotions`: which attribute keys have columns of their own, part by part.
//!
//! Duty: what the parts' footers say of promoted keys (storage.md 7.2, 7.3), for those who ask why a filter on a key is
//! dear. Guarantee: keys are as SQL shows them; those that are hidden there are not listed. Left to others: keys without
//! a column (`attribute_keys`), bytes of columns (`system.part_columns`, by path and `column_name`).

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{FOOTERS, numbers, texts};
use crate::query::attributes::attr::arrow_type;
use crate::query::attributes::visible;
use crate::query::sql_type::sql_type;
use crate::store::View;
use crate::store::part::{self, Keys, Level};

/// Columns of the relation.
pub(super) fn fields() -> Vec<Field> {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::Int64, false);
    vec![
        text("path"),
        text("level"),
        text("key"),
        text("column_name"),
        text("sql_type"),
        number("rows"),
        number("residual_rows"),
    ]
}

/// One row a promoted key of a part of `view`: `rows` have the key, of which `residual_rows` keep it in their list, since
/// it is of another type there.
pub(super) async fn rows(view: &View) -> Result<Vec<ArrayRef>> {
    let footers = stream::iter(view.parts.parts.clone()).map(|of| {
        let objects = view.objects.clone();
        async move {
            // Read anew, and not kept with the part: all parts' keys at once may be many.
            let footer = part::footer(objects.as_ref(), &of.entry).await;
            let footer = footer.map_err(|error| DataFusionError::External(Box::new(error)))?;
            let pairs = footer.file_metadata().key_value_metadata().into_iter().flatten();
            let pairs = pairs.filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect();
            Ok::<_, DataFusionError>((of, Keys::of_footer(&pairs)))
        }
    });
    let parts: Vec<_> = footers.buffered(FOOTERS).try_collect().await?;
    let (mut paths, mut levels, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let (mut columns, mut types) = (Vec::new(), Vec::new());
    let (mut present, mut residual) = (Vec::new(), Vec::new());
    for (part, of) in &parts {
        let Some(of) = of else { continue };
        let entries = Level::ALL.into_iter().flat_map(|level| of.level(level).iter().map(move |entry| (level, entry)));
        for (level, entry) in entries {
            let (Some(promoted), Some(key)) = (entry.promoted, visible::shown(&entry.key)) else { continue };
            paths.push(part.entry.path.as_str());
            levels.push(level.column());
            keys.push(key);
            columns.push(format!("{}.{}", level.as_str(), entry.key));
            types.push(sql_type(&arrow_type(promoted)));
            present.push(entry.present);
            residual.push(entry.residual);
        }
    }
    Ok(vec![
        texts(paths.into_iter()),
        texts(levels.into_iter()),
        texts(keys.into_iter()),
        texts(columns.iter().map(String::as_str)),
        texts(types.iter().map(String::as_str)),
        numbers(present.into_iter()),
        numbers(residual.into_iter()),
    ])
}
