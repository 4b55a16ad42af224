-- S1-32, P-22: the category that a customer leans to, and the one to show next. Of equal indices the name decides.
with affinities as (
    select
        customer_key,
        min_by(category, (-affinity_index, category)) filter (where is_affine) as top_category,
        max(affinity_index) filter (where is_affine) as top_affinity_index,
        min_by(share, (-affinity_index, category)) filter (where is_affine) as top_category_share,
        count(*) filter (where is_affine) as affinities_n,
        count(*) as categories_n,
        -- Which categories, as one number.
        bit_xor({{ row_hash(['category']) }}) as bought
    from {{ ref('int_customer_affinities') }}
    group by customer_key
),

-- Of those without any of the above: who bought all the same, of an unknown category or what came back.
recent as (
    select customer_key from {{ ref('int_customer_categories') }}
    where recent_days > 0 and (category = '' or recent_amount <= 0)
    group by customer_key
),

-- Whoever leans to the same category and has bought of the same ones gets the same answer: it is looked for once.
alike as (
    select top_category, bought, min(customer_key) as customer_key from affinities
    where top_category is not null
    group by top_category, bought
),

-- What people of that category buy as well and these customers have not bought.
following as (
    select
        alike.top_category,
        alike.bought,
        min_by(pairs.next_category, (-pairs.lift, pairs.next_category)) as next_category
    from alike
    inner join {{ ref('category_affinity') }} as pairs on alike.top_category = pairs.category and pairs.lift > 1
    anti join {{ ref('int_customer_affinities') }} as own
        on alike.customer_key = own.customer_key and pairs.next_category = own.category
    group by alike.top_category, alike.bought
)

select
    facts.customer_key,
    facts.as_of_date,
    {{ affinity_class(
        'affinities.top_category is not null', 'affinities.customer_key is not null', 'recent.customer_key is not null'
    ) }} as affinity_class,
    affinities.top_category,
    affinities.top_category_share,
    affinities.top_affinity_index,
    cast(coalesce(affinities.affinities_n, 0) as integer) as affinities_n,
    cast(coalesce(affinities.categories_n, 0) as integer) as categories_n,
    following.next_category,
    case
        when affinities.top_category is not null then null
        when affinities.customer_key is not null then 'like_everybody'
        when recent.customer_key is not null then 'no_spend_of_known_category'
        when facts.purchase_days_n = 0 then 'never_bought'
        else 'no_purchase_in_window'
    end as unclassified_reason,
    true as is_inferred,
    facts.policy_version
from {{ ref('int_customer_facts') }} as facts
left join affinities on facts.customer_key = affinities.customer_key
left join recent on facts.customer_key = recent.customer_key
left join following on affinities.top_category = following.top_category and affinities.bought = following.bought
