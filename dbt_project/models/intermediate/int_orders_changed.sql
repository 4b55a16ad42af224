{{ config(materialized='table') }}
-- Orders known on the refresh date that look different today: any row of theirs came, went or was revised since.
-- The frozen cut points need these, and only these, in their old version.
with touched as (
    select source, order_id from {{ ref('int_order_sums') }}
    where not is_same_at_refresh
    union
    select source, order_id from {{ ref('stg_sales__orders') }}
    where is_in_force <> was_in_force
    union
    select source, order_id from {{ ref('stg_sales__order_lines') }}
    where was_in_force and not is_in_force
)

select touched.source, touched.order_id
from touched
semi join (select source, order_id from {{ ref('stg_sales__orders') }} where was_in_force) as known_at_refresh
    using (source, order_id)
