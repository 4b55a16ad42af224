{#
  CTE `unrated_feeds`: paid orders and booked returns of each source before D, with `is_unrated` where their currency has no
  rate on their day. Test orders and what is not paid are no revenue in any currency.
#}
{% macro unrated_rows() -%}
unrated_feeds as (
    select
        orders.source, 'orders' as feed, orders.currency, orders.paid_date as day, orders.sale_amount as amount,
        orders.exchange_rate is null as is_unrated
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_run_policy') }} as policy on orders.paid_date < policy.as_of_date
    where not orders.is_test and {{ is_paid_status('orders.status') }}
    union all
    select
        returns.source, 'returns' as feed, returns.currency, returns.return_date as day, returns.refund_amount as amount,
        returns.exchange_rate is null as is_unrated
    from {{ ref('fct_returns') }} as returns
    inner join {{ ref('int_run_policy') }} as policy on returns.return_date < policy.as_of_date
)
{%- endmacro %}
