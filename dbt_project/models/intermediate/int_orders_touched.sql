{{ config(materialized='table', meta={'only_increments': true}) }}
-- Orders that an increment computes again, each with its owner in the build before: a row of theirs was delivered,
-- corrected or withdrawn, their customer is another person today, a product of theirs costs or is taxed otherwise, or
-- the rate of their currency on their day is another.
-- None in a full build, which asks nobody.
-- depends_on: {{ ref('deliveries_in_force') }}, {{ ref('int_customer_links') }}, {{ ref('int_guest_orders') }}
-- depends_on: {{ ref('int_exchange_rates') }}
-- depends_on: {{ ref('int_products') }}, {{ ref('int_product_cost_periods') }}, {{ ref('stg_sales__order_lines') }}
{% if increments() %}
with deliveries as (
    select distinct delivery, source from {{ changed_rows(ref('deliveries_in_force')) }} as changed
),

relinked as (
    select distinct source, source_customer_id from {{ changed_rows(ref('int_customer_links')) }} as changed
    where is_current
),

products as (
    -- A product that was unknown then is on lines of changed deliveries alone.
    select product_id from (
        select {{ kept_relations()['int_products'][1] | join(', ') }} from {{ kept('int_products') }}
        except
        select {{ kept_relations()['int_products'][1] | join(', ') }} from {{ ref('int_products') }}
    ) as changed
    union
    select product_id from {{ changed_rows(ref('int_product_cost_periods')) }} as changed
),

touched as (
    select deliveries.source, lines.order_id
    from {{ source('raw', 'order_lines') }} as lines
    inner join deliveries on lines._delivery = deliveries.delivery
    union
    select deliveries.source, orders.order_id
    from {{ source('raw', 'orders') }} as orders
    inner join deliveries on orders._delivery = deliveries.delivery
    union
    select orders.source, orders.order_id
    from {{ core_table('int_orders') }} as orders
    semi join relinked
        on orders.source = relinked.source and orders.source_customer_id = relinked.source_customer_id
    union
    select source, order_id from {{ changed_rows(ref('int_guest_orders')) }} as changed
    where is_current
    union
    select lines.source, lines.order_id
    from {{ ref('stg_sales__order_lines') }} as lines
    semi join products on lines.product_id = products.product_id
    union
    select orders.source, orders.order_id
    from {{ core_table('int_orders') }} as orders
    semi join {{ changed_rows(ref('int_exchange_rates')) }} as rates
        on orders.currency = rates.currency and orders.ordered_date = rates.day
)

select touched.source, touched.order_id, orders.customer_key as owner_before
from touched
left join {{ core_table('int_orders') }} as orders
    on touched.source = orders.source and touched.order_id = orders.order_id and orders.is_current
{% else %}
select source, order_id, cast(null as varchar) as owner_before
from {{ source('raw', 'orders') }}
cross join (select source from {{ ref('deliveries_in_force') }}) as deliveries
limit 0
{% endif %}
