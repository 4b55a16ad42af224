-- S1-32: which category buyers of another one buy as well, by lift; pairs that few people bought say nothing.
with buyers as (
    select customer_key, category from {{ ref('int_customer_affinities') }}
),

totals as (
    select count(distinct customer_key) as n from buyers
),

sizes as (
    select category, count(*) as n from buyers
    group by category
),

pairs as (
    select bought.category, other.category as next_category, count(*) as n
    from buyers as bought
    inner join buyers as other on bought.customer_key = other.customer_key and bought.category <> other.category
    group by bought.category, other.category
)

select
    pairs.category,
    pairs.next_category,
    policy.as_of_date,
    pairs.n as customers,
    {{ rate('pairs.n', 'own.n') }} as confidence,
    cast(pairs.n as double) * totals.n / (cast(own.n as double) * other.n) as lift,
    policy.policy_version
from pairs
inner join sizes as own on pairs.category = own.category
inner join sizes as other on pairs.next_category = other.category
cross join totals
cross join {{ ref('int_run_policy') }} as policy
where pairs.n >= policy.affinity_pair_support_min and pairs.n >= policy.k_anon_min
