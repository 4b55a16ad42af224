{{ config(meta={'dagster': {'ref': {'name': 'customer_rfm'}}, 'description': "Two customers with the same figure got different scores or classes (Q-14): something ranks by row order, and the result would change from run to run."}) }}
select 'recency' as measure, cast(recency_days as varchar) as value from {{ ref('customer_rfm') }}
where r_score is not null
group by recency_days
having min(r_score) <> max(r_score)

union all

select 'frequency' as measure, cast(frequency_days as varchar) as value from {{ ref('customer_rfm') }}
where f_score is not null
group by frequency_days
having min(f_score) <> max(f_score)

union all

select 'monetary' as measure, cast(monetary as varchar) as value from {{ ref('customer_rfm') }}
where m_score is not null
group by monetary
having min(m_score) <> max(m_score)

union all

select 'profit' as measure, cast(profit_365 as varchar) as value from {{ ref('customer_abc') }}
where abc_class in ('A', 'B', 'C')
group by profit_365
having min(abc_class) <> max(abc_class) or min(abc_cum_class) <> max(abc_cum_class)
