{#
  What the classes of price sensitivity and affinity need of what a customer bought, written once: the models take it as of
  D, and the re-scoring behind class_history takes it again under the steps that lie between two builds.
#}

{#
  Orders that count for a customer, paid on or after `first_day` and before `last_day` (SQL over `days`, a relation of one
  row): valid, with merchandise, not come back whole. Whoever may not be profiled has left.
#}
{% macro customer_orders(days, first_day, last_day) %}
    select
        orders.source, orders.order_id, orders.customer_key, orders.channel_id, orders.paid_date, orders.ordered_hour,
        orders.sale_n, orders.exchange_rate
    from {{ ref('int_orders') }} as orders
    inner join {{ days }} as days on orders.paid_date >= {{ first_day }} and orders.paid_date < {{ last_day }}
    left join {{ ref('int_orders_fully_returned') }} as returned
        on orders.source = returned.source and orders.order_id = returned.order_id and returned.is_current
    anti join (select customer_key from {{ ref('int_internal_customers') }} where is_current) as internal
        on orders.customer_key = internal.customer_key
    anti join {{ ref('int_persons_excluded') }} as excluded on orders.customer_key = excluded.customer_key
    where orders.is_current and orders.is_paid and orders.customer_key is not null
        and orders.has_merchandise and returned.order_id is null
{% endmacro %}

{#
  CTEs `lines`, `valued_lines` and `purchases`: what a customer bought of a category and brand on a day, in `orders`, rows
  of customer_orders(); `delivered` has their lines, as stg_sales__order_lines has them. Products without a category or brand
  are of ''. Amounts are as charged.
#}
{% macro customer_purchases(orders, delivered) %}
{{ lines_of_orders(
    orders,
    ['customer_key', 'paid_date', 'exchange_rate'],
    ['product_id', 'promotion_id', 'kind', 'is_gift', 'qty', 'list_price', 'unit_price_paid', 'line_amount'],
    delivered
) }},

valued_lines as (
    select
        *,
        {{ converted('line_amount', 'exchange_rate') }} as amount,
        promotion_id is not null or unit_price_paid < list_price as is_promoted
    from lines
),

purchases as (
    select
        lines.customer_key,
        coalesce(products.category_l1, '') as category,
        coalesce(products.brand, '') as brand,
        lines.paid_date as day,
        {{ money('sum(lines.amount)') }} as amount,
        cast(sum(lines.qty) as decimal(18, 3)) as qty,
        {{ money('sum(case when lines.list_price > 0 or lines.promotion_id is not null then lines.amount else 0 end)') }}
            as known_amount,
        {{ money('sum(case when lines.is_promoted then lines.amount else 0 end)') }} as promo_amount,
        {{ money('sum(case
            when lines.list_price > 0 and lines.is_promoted
                then ' ~ converted(money('lines.qty * lines.list_price'), 'lines.exchange_rate') ~ ' else 0
        end)') }} as promo_list_amount,
        {{ money('sum(case when lines.list_price > 0 and lines.is_promoted then lines.amount else 0 end)') }}
            as promo_paid_amount
    from valued_lines as lines
    inner join {{ ref('int_products') }} as products on lines.product_id = products.product_id
    where lines.kind = 'sale' and not lines.is_gift and products.is_merchandise
    group by lines.customer_key, coalesce(products.category_l1, ''), coalesce(products.brand, ''), lines.paid_date
)
{% endmacro %}

{# Refunds of customers by day and category. Those of orders that came back whole are left out with the orders themselves. #}
{% macro category_refunds() %}
    select
        returns.customer_key,
        coalesce(products.category_l1, '') as category,
        returns.return_date as day,
        {{ converted('returns.refund_amount', 'returns.exchange_rate') }} as refund
    from {{ ref('int_returns') }} as returns
    left join {{ ref('int_products') }} as products on returns.product_id = products.product_id
    anti join (select source, order_id from {{ ref('int_orders_fully_returned') }} where is_current) as whole
        on returns.source = whole.source and returns.order_id = whole.order_id
    where returns.is_current and returns.is_countable and returns.customer_key is not null
{% endmacro %}

{#
  CTEs `goods_bought`, `goods_returned` and `goods`: what a customer bought of a category in the windows of `policy`, net of
  what came back booked in the same window. `purchases` has days before D only, so has `refunds`. With `step`, a column
  that all three share, there is one row per customer, category and step.
#}
{% macro category_sums(purchases, refunds, step=none) %}
{%- set with_policy = 'inner join policy using (' ~ step ~ ')' if step else 'cross join policy' -%}
{%- set also = ', ' ~ step if step else '' %}
goods_bought as (
    select
        customer_key{{ also }},
        category,
        sum(amount) filter (where day >= policy.behaviour_window_start) as amount,
        sum(qty) filter (where day >= policy.behaviour_window_start) as qty,
        sum(known_amount) filter (where day >= policy.behaviour_window_start) as known_amount,
        sum(promo_amount) filter (where day >= policy.behaviour_window_start) as promo_amount,
        sum(promo_list_amount) filter (where day >= policy.behaviour_window_start) as promo_list_amount,
        sum(promo_paid_amount) filter (where day >= policy.behaviour_window_start) as promo_paid_amount,
        sum(amount) filter (where day >= policy.affinity_window_start) as recent_amount,
        count(distinct case when day >= policy.affinity_window_start then day end) as recent_days
    from {{ purchases }}
    {{ with_policy }}
    group by customer_key{{ also }}, category
),

goods_returned as (
    select
        customer_key{{ also }},
        category,
        sum(refund) filter (where day >= policy.behaviour_window_start) as refunds,
        sum(refund) filter (where day >= policy.affinity_window_start) as recent_refunds
    from {{ refunds }}
    {{ with_policy }}
    where day >= least(policy.behaviour_window_start, policy.affinity_window_start)
    group by customer_key{{ also }}, category
),

goods as (
    select
        customer_key{{ also }},
        category,
        {{ money('coalesce(amount, 0)') }} as amount,
        cast(coalesce(qty, 0) as decimal(18, 3)) as qty,
        {{ money('greatest(coalesce(amount, 0) - coalesce(refunds, 0), 0)') }} as net_amount,
        {{ money('coalesce(known_amount, 0)') }} as known_amount,
        {{ money('coalesce(promo_amount, 0)') }} as promo_amount,
        {{ money('coalesce(promo_list_amount, 0)') }} as promo_list_amount,
        {{ money('coalesce(promo_paid_amount, 0)') }} as promo_paid_amount,
        {{ money('greatest(coalesce(recent_amount, 0) - coalesce(recent_refunds, 0), 0)') }} as recent_amount,
        cast(recent_days as integer) as recent_days
    from goods_bought
    left join goods_returned using (customer_key, category{{ also }})
)
{% endmacro %}

{#
  CTEs `leant` and `leanings` (S1-32, P-22): a customer's categories of the last half-year beside all customers. The own
  share of spend is shrunk towards the share of all by purchase days, or one purchase would make an affinity of everything.
  `goods` is as category_sums() gives it, `categories` has the share_of_all of each.
#}
{% macro category_leanings(goods, categories, step=none) %}
{%- set also = ', ' ~ step if step else '' -%}
{%- set with_policy = 'inner join policy using (' ~ step ~ ')' if step else 'cross join policy' -%}
{%- set index = 'round((category_days * share / share_of_all + policy.affinity_shrink_weight)
            / (category_days + policy.affinity_shrink_weight), 8)' -%}
leant as (
    select customer_key{{ also }}, sum(recent_amount) as amount, sum(recent_days) as category_days
    from {{ goods }}
    where category <> '' and recent_amount > 0
    group by customer_key{{ also }}
),

shared as (
    select
        customer_key{{ also }},
        category,
        goods.recent_amount,
        goods.recent_days,
        categories.share_of_all,
        {{ rate('goods.recent_amount', 'leant.amount') }} as share,
        leant.category_days
    from {{ goods }} as goods
    inner join leant using (customer_key{{ also }})
    inner join {{ categories }} as categories using (category{{ also }})
    where category <> '' and goods.recent_amount > 0
),

leanings as (
    select
        customer_key{{ also }},
        category,
        recent_amount,
        recent_days,
        share,
        {{ index }} as affinity_index,
        recent_days >= policy.affinity_purchase_days_min and {{ index }} >= policy.affinity_index_min as is_affine
    from shared
    {{ with_policy }}
)
{% endmacro %}

{# The class of whoever leans to some category, has bought of a known one, or has bought at all in the window. #}
{% macro affinity_class(is_affine, has_categories, has_bought) -%}
    case
        when {{ is_affine }} then 'affine'
        when {{ has_categories }} then 'none'
        when {{ has_bought }} then 'unknown'
        else 'no_purchase_in_window'
    end
{%- endmacro %}

{# S1-34: sums over a customer's categories beside what is usual in them; after `goods` and `usual`, (usual_depth decimal(9, 8)). #}
{% macro price_sums() -%}
    sum(goods.amount) as amount,
    sum(goods.known_amount) as known_amount,
    sum(goods.promo_amount) as promo_amount,
    sum(goods.promo_list_amount) as promo_list_amount,
    sum(goods.promo_list_amount) - sum(goods.promo_paid_amount) as saved_amount,
    sum(cast(goods.promo_list_amount * usual.usual_depth as decimal(38, 12))) as usual_saved_amount
{%- endmacro %}

{# Shares of those sums, as price_reason() reads them. #}
{% macro price_shares(prices) -%}
    {{ rate(prices ~ '.promo_amount', prices ~ '.known_amount') }} as promo_share,
    {{ rate(prices ~ '.known_amount', prices ~ '.amount') }} as known_share,
    round({{ rate(prices ~ '.saved_amount', prices ~ '.promo_list_amount') }}, 8) as promo_depth,
    round({{ rate(prices ~ '.usual_saved_amount', prices ~ '.promo_list_amount') }}, 8) as usual_depth
{%- endmacro %}

{# P-21: who buys on promotion, and deeper than others do in the same categories; first match wins. After a relation `policy`. #}
{% macro price_reason(measured) -%}
    case
        when {{ measured }}.purchase_days_n = 0 then 'never_bought'
        when {{ measured }}.f365 < policy.price_purchase_days_min then 'too_few_purchases'
        when coalesce({{ measured }}.amount, 0) <= 0 then 'nothing_spent'
        when {{ measured }}.promo_share is null or {{ measured }}.known_share < policy.price_known_share_min
            then 'prices_unknown'
        when {{ measured }}.promo_share <= policy.price_insensitive_share_max then 'few_promotions'
        when {{ measured }}.promo_share < policy.price_sensitive_share_min then 'some_promotions'
        when {{ measured }}.promo_depth is null then 'depth_unknown'
        when {{ measured }}.promo_depth >= {{ measured }}.usual_depth then 'deep_promotions'
        else 'shallow_promotions'
    end
{%- endmacro %}

{% macro price_sensitivity_class(reason) -%}
    case
        when {{ reason }} = 'deep_promotions' then 'sensitive'
        when {{ reason }} = 'few_promotions' then 'not_sensitive'
        when {{ reason }} in ('some_promotions', 'shallow_promotions') then 'mixed'
        else 'unknown'
    end
{%- endmacro %}
