-- Channels by id in their latest state, those that only orders name included.
with ranked as (
    select
        *,
        row_number() over (partition by channel_id order by dt desc, rev desc, source, delivery_row desc) as nth
    from {{ ref('stg_channels__channels') }}
),

stated as (
    select * from ranked
    where nth = 1
),

used as (
    select distinct channel_id from {{ ref('fct_orders') }}
    where channel_id is not null
),

ids as (
    select channel_id from stated
    union
    select channel_id from used
)

select
    ids.channel_id,
    coalesce(stated.name, ids.channel_id) as name,
    stated.channel_group,
    stated.mode,
    stated.role,
    stated.cost_per_contact,
    stated.channel_group is not distinct from 'direct_sales' as is_direct_sales,
    stated.channel_id is not null as is_in_master,
    policy.as_of_date
from ids
cross join {{ ref('int_run_policy') }} as policy
left join stated using (channel_id)
