-- The four schemes in one shape, each class with the figures that decided, as a sentence in both languages and as codes.
with bought as (
    select
        customer_key, 'rfm' as scheme, rfm_segment as class, false as is_inferred,
        case
            when no_purchase_reason = 'never_bought' then '从未购买'
            when no_purchase_reason is not null then '最近购买距今' || recency_days || '天，超出窗口'
            else '最近购买距今' || recency_days || '天（' || r_score || '分），' || frequency_days || '个购买日（'
                || f_score || '分），净消费' || {{ money_text('monetary') }} || '（' || m_score || '分）'
        end as reason_zh,
        case
            when no_purchase_reason = 'never_bought' then 'Never bought'
            when no_purchase_reason is not null then 'Last purchase ' || recency_days || ' days ago, outside the window'
            else 'Last purchase ' || recency_days || ' days ago (score ' || r_score || '), ' || frequency_days
                || ' purchase days (score ' || f_score || '), net spend ' || {{ money_text('monetary') }}
                || ' (score ' || m_score || ')'
        end as reason_en,
        coalesce(upper(no_purchase_reason), 'R' || r_score || '|F' || f_score || '|M' || m_score || '|' || rfm_code)
            as reason_codes
    from {{ ref('customer_rfm') }}
),

ranked as (
    select
        customer_key, 'abc' as scheme, abc_class as class, profit_is_estimated as is_inferred,
        case
            when abc_class = 'no_purchase_in_window' then '窗口内无购买'
            when abc_class = 'unclassified' then '利润未知'
            else '贡献利润' || {{ money_text('profit_365') }} || '，排名' || worst_rank || '/' || n
                || case when profit_is_estimated then '（利润为估算）' else '' end
        end as reason_zh,
        case
            when abc_class = 'no_purchase_in_window' then 'No purchase in the window'
            when abc_class = 'unclassified' then 'Profit unknown'
            else 'Contribution profit ' || {{ money_text('profit_365') }} || ', rank ' || worst_rank || ' of ' || n
                || case when profit_is_estimated then ' (profit estimated)' else '' end
        end as reason_en,
        upper(coalesce(unclassified_reason, case when is_unprofitable then 'unprofitable' else 'profit_rank' end))
            || case when profit_is_estimated then '|ESTIMATED' else '' end as reason_codes
    from {{ ref('customer_abc') }}
),

valued as (
    select
        ranked.customer_key, 'value' as scheme, value.value_tier as class, ranked.is_inferred,
        ranked.reason_zh || case when value.potential_flag then '，半年消费增长' else '' end as reason_zh,
        ranked.reason_en || case when value.potential_flag then ', half-year spend grows' else '' end as reason_en,
        ranked.reason_codes || case when value.potential_flag then '|POTENTIAL' else '' end as reason_codes
    from ranked
    inner join {{ ref('customer_value') }} as value using (customer_key)
),

staged as (
    select
        customer_key, 'lifecycle' as scheme, stage as class, false as is_inferred,
        case
            when stage = 'prospect' then '从未购买'
            else '最近购买距今' || recency_days || '天，累计' || purchase_days_n || '个购买日；衰退线'
                || cast(floor(decline_days) as integer) || '天，流失线' || cast(floor(churn_days) as integer) || '天'
        end as reason_zh,
        case
            when stage = 'prospect' then 'Never bought'
            else 'Last purchase ' || recency_days || ' days ago, ' || purchase_days_n || ' purchase days; declining after '
                || cast(floor(decline_days) as integer) || ', churned after ' || cast(floor(churn_days) as integer)
                || ' days'
        end as reason_en,
        upper(stage) || case when is_reactivated then '|REACTIVATED' else '' end as reason_codes
    from {{ ref('customer_lifecycle') }}
)

select * from bought
union all
select * from ranked
union all
select * from valued
union all
select * from staged
