-- S1-32: which category buyers of another one buy as well, by lift; pairs that few people bought say nothing.
-- Whoever has bought of the same categories is counted once, and their categories are read of one of them.
with alike as (
    select categories_bought, min(customer_key) as customer_key, count(*) as n from {{ ref('int_customer_traits') }}
    where has_categories
    group by categories_bought
),

buyers as (
    select alike.categories_bought, affinities.category, alike.n
    from {{ ref('int_customer_affinities') }} as affinities
    inner join alike on affinities.customer_key = alike.customer_key
),

totals as (
    select sum(n) as n from alike
),

sizes as (
    select category, sum(n) as n from buyers
    group by category
),

pairs as (
    select bought.category, other.category as next_category, sum(bought.n) as n
    from buyers as bought
    inner join buyers as other
        on bought.categories_bought = other.categories_bought and bought.category <> other.category
    group by bought.category, other.category
)

select
    pairs.category,
    pairs.next_category,
    policy.as_of_date,
    cast(pairs.n as bigint) as customers,
    {{ rate('pairs.n', 'own.n') }} as confidence,
    cast(pairs.n as double) * cast(totals.n as double) / (cast(own.n as double) * cast(other.n as double)) as lift,
    policy.policy_version
from pairs
inner join sizes as own on pairs.category = own.category
inner join sizes as other on pairs.next_category = other.category
cross join totals
cross join {{ ref('int_run_policy') }} as policy
where pairs.n >= policy.affinity_pair_support_min and pairs.n >= policy.k_anon_min
