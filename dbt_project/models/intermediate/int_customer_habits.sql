{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['customer_key'],
          meta={'touched': 'int_customers_touched'}) }}
-- S0-02: when a customer buys, how much at once, and the scenes of life that this and the mix of categories tell of. Of
-- equally frequent weekdays or hours the earlier counts. Scenes are rows of life_scenes.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

placed as (
    select orders.customer_key, orders.sale_n, {{ iso_weekday('orders.paid_date') }} as weekday, orders.ordered_hour
    from {{ ref('int_customer_orders') }} as orders
    {{ only_touched(ref('int_customers_touched'), 'orders', ['customer_key']) }}
    inner join policy on orders.paid_date >= policy.behaviour_window_start
),

baskets as (
    select customer_key, count(*) as orders_n, sum(sale_n) as lines_n
    from placed
    group by customer_key
),

weekdays as (
    select customer_key, min_by(weekday, (-n, weekday)) as weekday
    from (select customer_key, weekday, count(*) as n from placed group by customer_key, weekday) as counted
    group by customer_key
),

times as (
    select customer_key, min_by(ordered_hour, (-n, ordered_hour)) as ordered_hour
    from (
        select customer_key, ordered_hour, count(*) as n from placed
        where ordered_hour is not null
        group by customer_key, ordered_hour
    ) as counted
    group by customer_key
),

rules as (
    select scenes.* from {{ ref('life_scenes') }} as scenes
    inner join policy on {{ is_in_force('scenes', 'policy.as_of_date') }}
),

-- A scene of a category is told by days with it, any other by orders at its time and of its size.
shown as (
    select
        placed.customer_key,
        rules.scene,
        count(*) as all_n,
        sum(case
            when (rules.weekdays = 'any' or rules.weekdays = 'workday' and placed.weekday <= 5
                    or rules.weekdays = 'weekend' and placed.weekday > 5)
                and coalesce(placed.ordered_hour between rules.hour_from and rules.hour_to, rules.hour_to - rules.hour_from = 23)
                and placed.sale_n >= rules.lines_min then 1 else 0
        end) as n,
        max(rules.times_min) as times_min,
        max(rules.share_min) as share_min
    from placed
    inner join rules on rules.category = '*'
    group by placed.customer_key, rules.scene
    union all
    select
        facts.customer_key,
        rules.scene,
        max(facts.f365) as all_n,
        count(distinct purchases.day) as n,
        max(rules.times_min) as times_min,
        max(rules.share_min) as share_min
    from {{ ref('int_customer_purchases') }} as purchases
    {{ only_touched(ref('int_customers_touched'), 'purchases', ['customer_key']) }}
    inner join policy on purchases.day >= policy.behaviour_window_start
    inner join rules on lower(purchases.category) = rules.category
        and (rules.weekdays = 'any' or rules.weekdays = 'workday' and {{ iso_weekday('purchases.day') }} <= 5
            or rules.weekdays = 'weekend' and {{ iso_weekday('purchases.day') }} > 5)
    inner join {{ ref('int_customer_facts') }} as facts on purchases.customer_key = facts.customer_key
    group by facts.customer_key, rules.scene
),

scenes as (
    select customer_key, {{ dbt.listagg('scene', "'|'", 'order by scene') }} as life_scenes
    from shown
    where n >= times_min and n >= share_min * all_n
    group by customer_key
)

select
    baskets.customer_key,
    cast(baskets.orders_n as integer) as orders_n,
    round({{ rate('baskets.lines_n', 'baskets.orders_n') }}, 8) as lines_per_order,
    weekdays.weekday,
    cast(times.ordered_hour as integer) as ordered_hour,
    scenes.life_scenes
from baskets
inner join weekdays on baskets.customer_key = weekdays.customer_key
left join times on baskets.customer_key = times.customer_key
left join scenes on baskets.customer_key = scenes.customer_key
