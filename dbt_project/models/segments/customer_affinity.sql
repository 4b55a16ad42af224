-- S1-32, P-22: the category that a customer leans to, and the one to show next. Of equal indices the name decides.
-- Whoever leans to the same category and has bought of the same ones gets the same answer: it is looked for once.
with alike as (
    select top_category, categories_bought, min(customer_key) as customer_key from {{ ref('int_customer_traits') }}
    where top_category is not null
    group by top_category, categories_bought
),

-- What people of that category buy as well and these customers have not bought.
following as (
    select
        alike.top_category,
        alike.categories_bought,
        min_by(pairs.next_category, (-pairs.lift, pairs.next_category)) as next_category
    from alike
    inner join {{ ref('category_affinity') }} as pairs on alike.top_category = pairs.category and pairs.lift > 1
    anti join {{ ref('int_customer_affinities') }} as own
        on alike.customer_key = own.customer_key and pairs.next_category = own.category
    group by alike.top_category, alike.categories_bought
)

select
    traits.customer_key,
    traits.as_of_date,
    {{ affinity_class(
        'traits.top_category is not null', 'traits.has_categories', 'traits.has_bought_beside'
    ) }} as affinity_class,
    traits.top_category,
    traits.top_category_share,
    traits.top_affinity_index,
    cast(coalesce(traits.affinities_n, 0) as integer) as affinities_n,
    cast(coalesce(traits.categories_n, 0) as integer) as categories_n,
    following.next_category,
    case
        when traits.top_category is not null then null
        when traits.has_categories then 'like_everybody'
        when traits.has_bought_beside then 'no_spend_of_known_category'
        when traits.purchase_days_n = 0 then 'never_bought'
        else 'no_purchase_in_window'
    end as unclassified_reason,
    true as is_inferred,
    traits.policy_version
from {{ ref('int_customer_traits') }} as traits
left join following
    on traits.top_category = following.top_category and traits.categories_bought = following.categories_bought
