{{ config(materialized='table') }}
-- Every product that the master data or a line names, with what an order line needs to know of it.
{% set master_columns = ['name', 'brand', 'category_l1', 'category_l2', 'category_l3', 'line', 'is_service',
                         'price_role', 'premium_tier', 'portion', 'status', 'tax_rate', 'launch_date', 'retire_date'] %}
with policy as (
    select * from {{ ref('int_run_policy') }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by is_in_force, product_id order by dt desc, rev desc, source, delivery_row desc
        ) as nth,
        row_number() over (
            partition by was_in_force, product_id order by dt desc, rev desc, source, delivery_row desc
        ) as nth_at_refresh
    from {{ ref('stg_products__products') }}
),

master as (
    select * from ranked
    where is_in_force and nth = 1
),

master_at_refresh as (
    select product_id, tax_rate from ranked
    where was_in_force and nth_at_refresh = 1
),

codes as (
    select product_id from master
    union
    select product_id from {{ ref('stg_sales__order_lines') }}
),

non_merchandise as (
    select distinct codes.product_id
    from codes
    cross join policy
    inner join {{ ref('non_merchandise_codes') }} as patterns
        on upper(codes.product_id) like upper(patterns.pattern) escape '\'
        and {{ is_in_force('patterns', 'policy.as_of_date') }}
),

margins as (
    select category_margins.category_l1, category_margins.margin
    from {{ ref('category_margins') }} as category_margins
    inner join policy on {{ is_in_force('category_margins', 'policy.as_of_date') }}
),

first_day as (
    select min(first_date) as first_date
    from (
        select {{ local_date('min(source.ordered_at)', 'deliveries.zone') }} as first_date
        from {{ source('raw', 'orders') }} as source
        inner join {{ ref('deliveries_in_force') }} as deliveries on source._delivery = deliveries.delivery
        group by deliveries.zone
    ) as zones
),

costs as (
    select
        periods.product_id,
        case when count(*) = 1 and min(periods.valid_from) <= min(first_day.first_date)
            and max(periods.last_day) is null then max(periods.unit_cost) end as unit_cost
    from {{ ref('int_product_cost_periods') }} as periods
    cross join first_day
    group by periods.product_id
)

select
    codes.product_id,
{%- for column in master_columns %}
    master.{{ column }},
{%- endfor %}
    master.product_id is not null as is_in_master,
    non_merchandise.product_id is null as is_merchandise,
    coalesce(master.tax_rate, policy.default_tax_rate) as effective_tax_rate,
    coalesce(master_at_refresh.tax_rate, policy.default_tax_rate) as effective_tax_rate_at_refresh,
    costs.unit_cost,
    costs.product_id is not null and costs.unit_cost is null as has_dated_cost,
    coalesce(category.margin, fallback.margin) as margin,
    case when category.margin is not null then 'category' when fallback.margin is not null then 'default' end
        as margin_basis
from codes
cross join policy
left join master on codes.product_id = master.product_id
left join master_at_refresh on codes.product_id = master_at_refresh.product_id
left join non_merchandise on codes.product_id = non_merchandise.product_id
left join costs on codes.product_id = costs.product_id
left join margins as category on master.category_l1 = category.category_l1
left join margins as fallback on fallback.category_l1 = '*'
