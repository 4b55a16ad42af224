-- S1-32, P-22: the category that a customer leans to, and the one to show next. Of equal indices the name decides.
with affinities as (
    select
        customer_key,
        min(case when is_affine and place = 1 then category end) as top_category,
        max(case when is_affine and place = 1 then affinity_index end) as top_affinity_index,
        max(case when is_affine and place = 1 then share end) as top_category_share,
        count(*) filter (where is_affine) as affinities_n,
        count(*) as categories_n
    from (
        select
            *,
            row_number() over (partition by customer_key order by is_affine desc, affinity_index desc, category) as place
        from {{ ref('int_customer_affinities') }}
    ) as ranked
    group by customer_key
),

recent as (
    select customer_key, max(recent_days) as recent_days from {{ ref('int_customer_categories') }}
    group by customer_key
),

-- What people of that category buy as well and this customer has not bought.
following as (
    select affinities.customer_key, pairs.next_category,
        row_number() over (partition by affinities.customer_key order by pairs.lift desc, pairs.next_category) as place
    from affinities
    inner join {{ ref('category_affinity') }} as pairs on affinities.top_category = pairs.category and pairs.lift > 1
    anti join {{ ref('int_customer_affinities') }} as own
        on affinities.customer_key = own.customer_key and pairs.next_category = own.category
)

select
    facts.customer_key,
    facts.as_of_date,
    case
        when affinities.top_category is not null then 'affine'
        when affinities.customer_key is not null then 'none'
        when coalesce(recent.recent_days, 0) > 0 then 'unknown'
        else 'no_purchase_in_window'
    end as affinity_class,
    affinities.top_category,
    affinities.top_category_share,
    affinities.top_affinity_index,
    cast(coalesce(affinities.affinities_n, 0) as integer) as affinities_n,
    cast(coalesce(affinities.categories_n, 0) as integer) as categories_n,
    following.next_category,
    case
        when affinities.top_category is not null then null
        when affinities.customer_key is not null then 'like_everybody'
        when coalesce(recent.recent_days, 0) > 0 then 'no_spend_of_known_category'
        when facts.purchase_days_n = 0 then 'never_bought'
        else 'no_purchase_in_window'
    end as unclassified_reason,
    true as is_inferred,
    facts.policy_version
from {{ ref('int_customer_facts') }} as facts
left join affinities using (customer_key)
left join recent using (customer_key)
left join following on facts.customer_key = following.customer_key and following.place = 1
