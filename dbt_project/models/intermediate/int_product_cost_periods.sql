-- Unit costs by inclusive period. A later valid_from ends the period before it, whether sources write valid_to as the
-- last day or as the first day after it.
with costs as (
    select * from {{ ref('stg_products__product_costs') }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by product_id, valid_from order by dt desc, rev desc, source, delivery_row desc
        ) as nth
    from costs
),

periods as (
    select
        product_id,
        valid_from,
        valid_to,
        unit_cost,
        lead(valid_from) over (partition by product_id order by valid_from) as next_valid_from
    from ranked
    where nth = 1
)

select
    product_id,
    valid_from,
    unit_cost,
    case
        when next_valid_from is not null and (valid_to is null or valid_to >= next_valid_from)
            then {{ date_minus('next_valid_from', 1) }}
        else valid_to
    end as last_day
from periods
