-- Whom the classes hold and whom not: classified + excluded = all people, and with guests and staff all paid orders.
-- A reason with fewer than k people is hidden, and others with it until the hidden ones hold k together.
with people as (
    select customers.customer_key, coalesce(excluded.reason, 'classified') as population_group
    from {{ ref('dim_customers') }} as customers
    left join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
),

counted as (
    select population_group, count(*) as customers from people
    group by population_group
),

sold as (
    select
        case
            when orders.customer_key is null then 'guests'
            when people.population_group = 'classified' and not orders.is_valid then 'internal'
            else people.population_group
        end as population_group,
        count(*) as orders_n,
        sum(orders.net_revenue) as revenue
    from {{ ref('fct_orders') }} as orders
    left join people using (customer_key)
    where orders.is_paid
    group by 1
),

cells as (
    select
        labels.*,
        case when labels.population_group not in ('guests', 'internal') then coalesce(counted.customers, 0) end
            as customers,
        coalesce(sold.orders_n, 0) as orders_n,
        coalesce(sold.revenue, 0) as revenue,
        policy.as_of_date,
        policy.policy_version,
        policy.k_anon_min
    from {{ ref('population_groups') }} as labels
    cross join {{ ref('int_run_policy') }} as policy
    left join counted on labels.population_group = counted.population_group
    left join sold on labels.population_group = sold.population_group
),

hidden_before as (
    select population_group from {{ source('history', 'segment_coverage') }} where is_suppressed
),

hidden as (
    select
        cells.*,
        coalesce({{ is_suppressed_cell(
            'customers', 'k_anon_min', 'is_excluded', 'cells.population_group', 'hidden_before.population_group is not null'
        ) }}, false) as is_suppressed
    from cells
    left join hidden_before on cells.population_group = hidden_before.population_group
)

select
    population_group,
    as_of_date,
    label_zh,
    label_en,
    is_excluded,
    sort,
    is_suppressed,
    case when not is_suppressed then customers end as customers,
    case when not is_suppressed then orders_n end as orders_n,
    {{ money('case when not is_suppressed then revenue end') }} as revenue,
    policy_version
from hidden
