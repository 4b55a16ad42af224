{{ config(materialized='table') }}
-- Orders without a customer id whose buyer agreed to be known by the contact (C-22), on D and on the refresh date. The
-- person is the only one who has every contact of the order that anybody has, and the name, where both are known.
{% set kinds = ['phone', 'email'] %}
{% set views = [('true', 'is_in_force'), ('false', 'was_in_force')] %}
with contacts as (
    {%- for is_current, flag in views %}
    select
        {{ is_current }} as is_current,
        *,
        row_number() over (
            partition by source, order_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_sales__guest_contacts') }}
    where {{ flag }}
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

agreed as (
    select * from contacts
    where nth = 1 and is_consented
),

asked as (
    {%- for kind in kinds %}
    select is_current, source, order_id, '{{ kind }}' as kind, {{ kind }}_token as token from agreed
    where {{ kind }}_token is not null
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

-- Only records that ever had one of these contacts are sorted.
records as (
    {%- for kind in kinds %}
    select customers.source, customers.source_customer_id
    from {{ ref('stg_customers__customers') }} as customers
    semi join asked on asked.kind = '{{ kind }}' and asked.token = customers.{{ kind }}_token
    {{- ' union' if not loop.last }}
    {%- endfor %}
),

states as (
    {%- for is_current, flag in views %}
    select
        {{ is_current }} as is_current,
        customers.*,
        row_number() over (
            partition by customers.source, customers.source_customer_id
            order by customers.updated_at desc nulls last, customers.dt desc, customers.rev desc,
                customers.delivery_row desc, customers.delivery desc
        ) as nth
    from {{ ref('stg_customers__customers') }} as customers
    semi join records
        on customers.source = records.source and customers.source_customer_id = records.source_customer_id
    where customers.{{ flag }}
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

people as (
    select links.is_current, links.customer_key, states.name_token, states.phone_token, states.email_token
    from states
    inner join {{ ref('int_customer_links') }} as links
        on states.is_current = links.is_current and states.source = links.source
        and states.source_customer_id = links.source_customer_id
    where states.nth = 1
),

held as (
    {%- for kind in kinds %}
    select is_current, customer_key, '{{ kind }}' as kind, {{ kind }}_token as token from people
    where {{ kind }}_token is not null
    {{- ' union' if not loop.last }}
    {%- endfor %}
),

found as (
    select asked.is_current, asked.source, asked.order_id, held.customer_key, count(*) as kinds_n
    from asked
    inner join held on asked.is_current = held.is_current and asked.kind = held.kind and asked.token = held.token
    group by asked.is_current, asked.source, asked.order_id, held.customer_key
),

known as (
    select asked.is_current, asked.source, asked.order_id, count(*) as kinds_n
    from asked
    semi join held on asked.is_current = held.is_current and asked.kind = held.kind and asked.token = held.token
    group by asked.is_current, asked.source, asked.order_id
),

only_ones as (
    select found.is_current, found.source, found.order_id, min(found.customer_key) as customer_key
    from found
    inner join known using (is_current, source, order_id, kinds_n)
    group by found.is_current, found.source, found.order_id
    having count(*) = 1
),

names as (
    select is_current, customer_key, name_token from people
    where name_token is not null
    group by is_current, customer_key, name_token
),

judged as (
    select
        only_ones.is_current,
        only_ones.source,
        only_ones.order_id,
        only_ones.customer_key,
        bool_or(names.name_token = agreed.name_token) as name_agrees
    from only_ones
    inner join agreed using (is_current, source, order_id)
    left join names on only_ones.is_current = names.is_current and only_ones.customer_key = names.customer_key
    group by only_ones.is_current, only_ones.source, only_ones.order_id, only_ones.customer_key
)

select is_current, source, order_id, customer_key
from judged
where coalesce(name_agrees, true)
